"""Augmentation on the device: pure functions of (key, images), for use inside a jitted step."""

import jax
import jax.numpy as jnp


def augment(
  key: jax.Array,
  images: jax.Array,
  *,
  crop: int = 4,
  flip: bool = True,
  cutout: int = 0,
  fill: jax.Array | None = None,
) -> jax.Array:
  """Crops, flips and cuts out at random, independently for every example.

  What happens to an example depends on the key and its position in the batch alone. All
  options are static under jit but `fill`.

  Args:
    key: a JAX random key, new for every step.
    images: uint8 [B, H, W, C].
    crop: pixels of zero padding on each side before a window of H x W is taken; 0 is off.
    flip: mirror left and right with probability 1/2.
    cutout: side in pixels of the square that is blanked; its centre is uniform over the
      image, so that the border may clip it; 0 is off.
    fill: uint8 [C], the colour of that square, as the mean pixel; None is black.

  Returns:
    uint8 [B, H, W, C].

  References:
    Terrance DeVries, Graham W. Taylor: Improved Regularization of Convolutional Neural
    Networks with Cutout, 2017, https://arxiv.org/abs/1708.04552
  """
  keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(jnp.arange(len(images)))
  crop_keys, flip_keys, cutout_keys = jax.vmap(lambda k: jax.random.split(k, 3), out_axes=1)(keys)
  if crop or flip:
    images = _crop_and_flip(crop_keys, flip_keys, images, crop, flip)
  if cutout:
    images = _cutout(cutout_keys, images, cutout, fill)
  return images


def _crop_and_flip(
  crop_keys: jax.Array, flip_keys: jax.Array, images: jax.Array, crop: int, flip: bool
) -> jax.Array:
  """Both in one gather; on a CPU twice as fast as slicing every image and selecting its mirror."""
  batch, height, width, _ = images.shape
  offsets = _integers(crop_keys, (2,), 2 * crop + 1)
  rows = jnp.broadcast_to(jnp.arange(height), (batch, height)) + offsets[:, :1]
  columns = jnp.broadcast_to(jnp.arange(width), (batch, width))
  if flip:
    mirrored = jax.vmap(jax.random.bernoulli)(flip_keys)[:, None]
    columns = jnp.where(mirrored, columns[:, ::-1], columns)
  columns = columns + offsets[:, 1:]
  padded = jnp.pad(images, ((0, 0), (crop, crop), (crop, crop), (0, 0)))
  return padded[jnp.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _cutout(keys: jax.Array, images: jax.Array, side: int, fill: jax.Array | None) -> jax.Array:
  _, height, width, channels = images.shape
  row_keys, column_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
  rows = _covered(_integers(row_keys, (), height), height, side)
  columns = _covered(_integers(column_keys, (), width), width, side)
  colour = jnp.zeros(channels, images.dtype) if fill is None else jnp.asarray(fill, images.dtype)
  inside = rows[:, :, None, None] & columns[:, None, :, None]
  return jnp.where(inside, colour, images)


def _covered(centre: jax.Array, length: int, side: int) -> jax.Array:
  """Returns a mask [B, length]: which positions lie in a stretch of `side` around `centre` [B]."""
  start = centre[:, None] - side // 2
  positions = jnp.arange(length)
  return (positions >= start) & (positions < start + side)


def _integers(keys: jax.Array, shape: tuple[int, ...], bound: int) -> jax.Array:
  """Returns int32 [B, *shape], uniform in 0..bound-1, from one key an example."""
  return jax.vmap(lambda key: jax.random.randint(key, shape, 0, bound))(keys)
