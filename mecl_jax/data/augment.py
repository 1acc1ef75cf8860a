"""Augmentation on the device: pure functions of a key and images, for a jitted step."""

import jax
import jax.numpy as jnp


def augment(
  key: jax.Array,
  images: jax.Array,
  mirrored: jax.Array | None = None,
  *,
  crop: int = 4,
  flip: bool = True,
  cutout: int = 0,
  fill: jax.Array | None = None,
) -> jax.Array:
  """Returns images that are cropped, flipped and cut out at random, each independently.

  The result for an example depends only on its image, the key, its position in the batch, and its
  entry of `mirrored`. All options except `fill` must be static under jit.

  Args:
    key: a JAX random key, new for every step.
    images: uint8 [B, H, W, C].
    mirrored: bool [B], which images are mirrored; None: each with probability 1/2.
    crop: pixels of zero padding on each side before a random window of H x W is taken; 0: no
      crop.
    flip: whether to mirror images left to right; otherwise `mirrored` has no effect.
    cutout: side in pixels of the erased square; its centre is uniform over the image, so the
      border may clip it; 0: no cutout.
    fill: uint8 [C], colour of the erased square, for example the mean pixel; None: black.

  Returns:
    uint8 [B, H, W, C].

  References:
    Terrance DeVries, Graham W. Taylor: Improved Regularization of Convolutional Neural
    Networks with Cutout, 2017, https://arxiv.org/abs/1708.04552
  """
  keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(jnp.arange(len(images)))
  crop_keys, flip_keys, cutout_keys = jax.vmap(lambda k: jax.random.split(k, 3), out_axes=1)(keys)
  if crop or flip:
    images = _crop_and_flip(crop_keys, flip_keys, images, mirrored, crop, flip)
  if cutout:
    images = _cutout(cutout_keys, images, cutout, fill)
  return images


def _crop_and_flip(
  crop_keys: jax.Array,
  flip_keys: jax.Array,
  images: jax.Array,
  mirrored: jax.Array | None,
  crop: int,
  flip: bool,
) -> jax.Array:
  """Crops and flips in one gather, on a CPU twice as fast as slicing and selecting each image."""
  batch, height, width, _ = images.shape
  offsets = _integers(crop_keys, (2,), 2 * crop + 1)
  rows = jnp.broadcast_to(jnp.arange(height), (batch, height)) + offsets[:, :1]
  columns = jnp.broadcast_to(jnp.arange(width), (batch, width))
  if flip:
    if mirrored is None:
      mirrored = jax.vmap(jax.random.bernoulli)(flip_keys)
    columns = jnp.where(mirrored[:, None], columns[:, ::-1], columns)
  columns = columns + offsets[:, 1:]
  padded = jnp.pad(images, ((0, 0), (crop, crop), (crop, crop), (0, 0)))
  return padded[jnp.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _cutout(keys: jax.Array, images: jax.Array, side: int, fill: jax.Array | None) -> jax.Array:
  """Erases one square in each image."""
  _, height, width, channels = images.shape
  row_keys, column_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
  rows = _covered(_integers(row_keys, (), height), height, side)
  columns = _covered(_integers(column_keys, (), width), width, side)
  colour = jnp.zeros(channels, images.dtype) if fill is None else jnp.asarray(fill, images.dtype)
  inside = rows[:, :, None, None] & columns[:, None, :, None]
  return jnp.where(inside, colour, images)


def _covered(centre: jax.Array, length: int, side: int) -> jax.Array:
  """Returns a mask [B, length] of the `side` positions around `centre` [B]."""
  start = centre[:, None] - side // 2
  positions = jnp.arange(length)
  return (positions >= start) & (positions < start + side)


def _integers(keys: jax.Array, shape: tuple[int, ...], bound: int) -> jax.Array:
  """Returns int32 [B, *shape], uniform in 0..bound-1, from one key per example."""
  return jax.vmap(lambda key: jax.random.randint(key, shape, 0, bound))(keys)
