"""Logits of every exit, computed once; everything else in this room is a function of them."""

from collections.abc import Callable, Sequence
import functools

from flax import nnx
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from mecl_jax.compiler import compiler_options
from mecl_jax.models import MultiExit


@functools.cache
def _compiled_forward() -> Callable:
  """Compiles once per form of the network, exits and batch; the backend is known at the call."""

  def forward(graphdef, exits, state, images):
    return nnx.merge(graphdef, state)(images, exits)

  return jax.jit(forward, static_argnums=(0, 1), compiler_options=compiler_options())


def predict(
  model: MultiExit,
  images: np.ndarray,
  exits: Sequence[str] | None = None,
  *,
  batch_size: int = 512,
  mesh: Mesh | None = None,
  on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
  """Logits of the exits; the model is put into evaluation mode (running batch statistics).

  Args:
    model: sees the images as they are, without augmentation.
    images: uint8 [N, height, width, channels].
    exits: names of the exits wanted; None: all.
    batch_size: images per call, made a multiple of the devices; the last call is filled up with
      zeros, so that one shape is traced.
    mesh: of one axis, over which a batch is split; None: on the default device.
    on_batch: called after every batch with the number of images done.

  Returns:
    float32 [N, exits, classes] (float64 if the model computes in it), earliest exit first.
  """
  model.eval()
  graphdef, state = nnx.split(model)
  sharding = None
  if mesh is not None:
    sharding = NamedSharding(mesh, PartitionSpec(*mesh.axis_names))
    batch_size += -batch_size % mesh.size
  names = None if exits is None else tuple(exits)
  logits = []
  for start in range(0, len(images), batch_size):
    batch = images[start : start + batch_size]
    padding = [(0, batch_size - len(batch))] + [(0, 0)] * (images.ndim - 1)
    out = _compiled_forward()(
      graphdef, names, state, jax.device_put(np.pad(batch, padding), sharding)
    )
    logits.append(jax.device_get(out)[: len(batch)])
    on_batch(start + len(batch))
  return np.concatenate(logits)
