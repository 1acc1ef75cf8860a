"""Prediction: logits of every exit, and features of the last stage."""

from collections.abc import Callable, Sequence
import functools

from flax import nnx
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from mecl_jax.compiler import compiler_options
from mecl_jax.models import FINAL, MultiExit


def images_per_call(model: MultiExit, image_shape: Sequence[int]) -> int:
  """Returns how many images of (height, width, channels) are predicted at once.

  It is 512 for up to 64x64 pixels at the input of the backbone. For larger images it falls in
  proportion to the pixels, to 16 at least, to limit the memory.
  """
  height, width, _ = model.input_shape(image_shape)
  return min(512, max(16, 512 * 64 * 64 // (height * width)))


@functools.cache
def _compiled_forward() -> Callable:
  """Returns a jitted forward pass, which compiles once per network, function, exits and batch.

  It is made at the first call, since its compiler options depend on the backend.
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
  """Predicts the logits of images, without augmentation.

  Args:
    model: is put into evaluation mode (running batch statistics).
    images: uint8 [N, height, width, channels].
    exits: names of the exits to return; None for all.
    batch_size: images per call, rounded up to a multiple of the devices; the last call is padded
      with zeros, so that only one shape is traced. None for `images_per_call`.
    mesh: mesh with one axis, over which a batch is split; None for the default device.
    on_batch: is called after every batch with the number of images done.

  Returns:
    float32 [N, exits, classes] (float64 if the model computes in it), earliest exit first.

  Examples:
    >>> from mecl_jax import models
    >>> model = models.build(
    ...   backbone='resnet8', exits=('stage1',), head='linear', num_classes=3,
    ...   image_shape=(8, 8, 3), mean=np.zeros(3), std=np.ones(3), seed=0,
    ... )
    >>> predict(model, np.zeros((5, 8, 8, 3), np.uint8), batch_size=5).shape
    (5, 2, 3)
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
  """Computes the feature map of the last stage, averaged over the image.

  Args:
    model, images, batch_size, mesh, on_batch: as of `predict`.

  Returns:
    [N, channels] in the compute dtype.
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
  """Returns `function(model, images, names)` of all images, computed batch by batch."""
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
