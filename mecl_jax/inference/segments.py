"""Segments of a network: the parts between its exits, compiled one by one."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Any

from flax import nnx
import jax
import numpy as np

from mecl_jax.compiler import compiler_options
from mecl_jax.models import MultiExit
from mecl_jax.models.backbones.backbone import Features, feature_map
from mecl_jax.models.heads.cascade import CascadeHead

Leaves = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
  """A function of some arrays of a network; only these are passed with a call.

  Attributes:
    leaves: the arrays, on one device; a flat tuple, since calls with a tree are slower.
    run: pure function, (leaves, *inputs) -> outputs.
  """

  leaves: Leaves
  run: Callable[..., Any]

  def compile(self, *inputs: Any) -> jax.stages.Compiled:
    """Compiles `run` for inputs of these shapes and dtypes."""
    jitted = jax.jit(self.run, compiler_options=compiler_options())
    return jitted.lower(self.leaves, *inputs).compile()


@dataclasses.dataclass(frozen=True, eq=False)
class Segment(Part):
  """The stages after the exit before, and the head behind them.

  `run` is (leaves, x, before) -> (features, logits). For the first segment, `x` are images, for
  others the features of the segment before; `before` are the logits of the exit before. The last
  segment returns None as features.

  Attributes:
    is_cascade: whether the head takes the logits of the exit before; otherwise `before` must be
      None.
  """

  is_cascade: bool


def cut(model: MultiExit) -> tuple[Segment, ...]:
  """Cuts a network into segments, one per exit; the first one also normalises pixels.

  The network is put into evaluation mode. Its arrays are put on the first local device.
  """
  model.eval()
  return tuple(_segment(model, index) for index in range(len(model.exit_names)))


def prefix(model: MultiExit, exit_name: str) -> Part:
  """Returns the network up to one exit as a whole: images [B, H, W, C] -> logits [B, classes].

  It has no other heads, except the one before a cascade. The network is put into evaluation mode.
  """
  model.eval()
  last = model.exit_names.index(exit_name)
  heads = model.needed((exit_name,))

  def run(network: MultiExit, images: jax.Array) -> jax.Array:
    return network(images, (exit_name,))[:, 0]

  return Part(*_bound(model, _paths(model, range(last + 1), heads), run))


def alone(model: MultiExit, exit_name: str) -> Segment:
  """Returns the network up to one exit, with no other head, as a single segment; see `prefix`."""
  whole = prefix(model, exit_name)

  def run(leaves: Leaves, images: Any, before: None) -> tuple[None, jax.Array]:
    return None, whole.run(leaves, images)

  return Segment(whole.leaves, run, is_cascade=False)


class Chain:
  """All segments of a network, compiled for batches of one shape.

  Args:
    segments: as from `cut`.
    image_shape: (images, height, width, channels), of uint8 images.

  Attributes:
    logits: shape and dtype of the logits of an exit, [images, classes].
  """

  def __init__(self, segments: Sequence[Segment], image_shape: Sequence[int]):
    x: Any = jax.ShapeDtypeStruct(tuple(image_shape), np.uint8)
    logits: Any = None
    self._calls = []
    for segment in segments:
      before = logits if segment.is_cascade else None
      self._calls.append((segment, segment.compile(x, before)))
      x, logits = jax.eval_shape(segment.run, segment.leaves, x, before)
    self.logits = logits

  def __call__(self, images: np.ndarray) -> Iterator[jax.Array]:
    """Yields the logits [B, classes] of one exit after the other; each segment runs on demand."""
    x: Any = images
    logits: Any = None
    for segment, call in self._calls:
      x, logits = call(segment.leaves, x, logits if segment.is_cascade else None)
      yield logits


def _segment(model: MultiExit, index: int) -> Segment:
  name, is_last = model.exit_names[index], index == len(model.exit_names) - 1

  def run(
    network: MultiExit, x: Any, before: jax.Array | None
  ) -> tuple[Features | None, jax.Array]:
    if index == 0:
      x = network.preprocess(x)
    for stage in network.segments[index]:
      x = network.backbone.stages[stage](x)
    inputs = () if before is None else (network.out_of_units(before),)
    logits = network.heads[name](feature_map(x), *inputs)
    return None if is_last else x, network.in_units(logits)

  leaves, bound = _bound(model, _paths(model, [index], [name]), run)
  return Segment(leaves, bound, isinstance(model.heads[name], CascadeHead))


def _paths(model: MultiExit, segments: Sequence[int], heads: Sequence[str]) -> set[tuple[str, ...]]:
  """Returns the state paths that segments and heads use; the first segment normalises pixels."""
  stages = {('backbone', 'stages', name) for index in segments for name in model.segments[index]}
  pixels = {('mean',), ('std',)} if 0 in segments else set()
  targets = {('target_mean',), ('target_std',)} if model.standardised else set()
  return {*stages, *pixels, *targets, *(('heads', name) for name in heads)}


def _bound(
  model: MultiExit, paths: set[tuple[str, ...]], function: Callable[..., Any]
) -> tuple[Leaves, Callable[..., Any]]:
  """Returns the arrays under these paths, and `function(network, *inputs)` of these arrays."""

  def is_used(path: tuple[Any, ...], value: object) -> bool:
    # Random keys serve only dropout, which evaluation mode leaves out.
    return any(path[: len(p)] == p for p in paths) and not isinstance(value, nnx.RngState)

  graphdef, own, *rest = nnx.split(model, is_used, ...)
  leaves, form = jax.tree.flatten(jax.device_put(own, jax.local_devices()[0]))

  def run(leaves: Leaves, *inputs: Any) -> Any:
    return function(nnx.merge(graphdef, jax.tree.unflatten(form, leaves), *rest), *inputs)

  return tuple(leaves), run
