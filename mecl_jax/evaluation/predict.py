"""Logits of every exit, computed once; everything else in this room is a function of them."""

from collections.abc import Callable, Sequence
import functools

from flax import nnx
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from mecl_jax.compiler import compiler_options
from mecl_jax.models import FINAL, MultiExit


def images_per_call(model: MultiExit, image_shape: Sequence[int]) -> int:
  """How many images of (height, width, channels) are predicted at once, so that memory suffices.

  512 that the backbone sees with up to 64x64 pixels, and fewer of larger ones, at least 16.
  """
  height, width, _ = model.input_shape(image_shape)
  return min(512, max(16, 512 * 64 * 64 // (height * width)))


@functools.cache
def _compiled_forward() -> Callable:
  """Compiles once per form of the network, function, exits and batch.

  Made at the first call, when the backend is known.
  """

  def forward(graphdef, function, exits, state, images):
    return function(nnx.merge(graphdef, state), images, exits)

  return jax.jit(forward, static_argnums=(0, 1, 2), compiler_options=compiler_options())


def predict(
  model: MultiExit,
  images: np.ndarray,
  exits: Sequence[str] | None = None,
  *,
  batch_size: int | None = None,
  mesh: Mesh | None = None,
  on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
  """Logits of the exits; the model is put into evaluation mode (running batch statistics).

  Args:
    model: sees the images as they are, without augmentation.
    images: uint8 [N, height, width, channels].
    exits: names of the exits wanted; None: all.
    batch_size: images per call, made a multiple of the devices; the last call is filled up with
      zeros, so that one shape is traced. None: see `images_per_call`.
    mesh: of one axis, over which a batch is split; None: on the default device.
    on_batch: called after every batch with the number of images done.

  Returns:
    float32 [N, exits, classes] (float64 if the model computes in it), earliest exit first.
  """
  names = None if exits is None else tuple(exits)
  return _over(images, model, MultiExit.__call__, names, batch_size, mesh, on_batch)


def penultimate_features(
  model: MultiExit,
  images: np.ndarray,
  *,
  batch_size: int | None = None,
  mesh: Mesh | None = None,
  on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
  """The last stage's feature map, averaged over the image, [N, channels] in the compute dtype.

  Arguments as of `predict`.
  """
  return _over(images, model, _averaged_features, (FINAL,), batch_size, mesh, on_batch)


def _averaged_features(model: MultiExit, images: jax.Array, exits: Sequence[str]) -> jax.Array:
  return model.features(images, exits)[0].mean(axis=(1, 2))


def _over(
  images: np.ndarray,
  model: MultiExit,
  function: Callable,
  names: tuple[str, ...] | None,
  batch_size: int | None,
  mesh: Mesh | None,
  on_batch: Callable[[int], None],
) -> np.ndarray:
  """`function(model, images, names)` of all images, a batch at a time."""
  model.eval()
  graphdef, state = nnx.split(model)
  batch_size = batch_size or images_per_call(model, images.shape[1:])
  sharding = None
  if mesh is not None:
    sharding = NamedSharding(mesh, PartitionSpec(*mesh.axis_names))
    batch_size += -batch_size % mesh.size
  results = []
  for start in range(0, len(images), batch_size):
    batch = images[start : start + batch_size]
    padding = [(0, batch_size - len(batch))] + [(0, 0)] * (images.ndim - 1)
    out = _compiled_forward()(
      graphdef, function, names, state, jax.device_put(np.pad(batch, padding), sharding)
    )
    results.append(jax.device_get(out)[: len(batch)])
    on_batch(start + len(batch))
  return np.concatenate(results)
