"""A network cut at its exits: each segment goes on where the one before it stopped."""

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
  """A function of some of a network's arrays: they alone travel with a call.

  Attributes:
    leaves: the arrays, on one device; flat, as a call that has to look through a tree is slow.
    run: pure, (leaves, *inputs) -> outputs.
  """

  leaves: Leaves
  run: Callable[..., Any]

  def compile(self, *inputs: Any) -> jax.stages.Compiled:
    """`run` for arrays of these forms, and for no others."""
    jitted = jax.jit(self.run, compiler_options=compiler_options())
    return jitted.lower(self.leaves, *inputs).compile()


@dataclasses.dataclass(frozen=True, eq=False)
class Segment(Part):
  """The stages after the exit before, and the head behind them.

  `run` is (leaves, x, before) -> (features, logits): `x` are the images of the first segment and
  else the features of the one before, `before` its logits. The last one's features are None.

  Attributes:
    sees_logits: whether the head is a cascade; if not, `before` is to be None.
  """

  sees_logits: bool


def cut(model: MultiExit) -> tuple[Segment, ...]:
  """The segments of a network, one per exit; the first one normalises pixels, too.

  The network is put into evaluation mode. Its arrays go to the first local device.
  """
  model.eval()
  return tuple(_segment(model, index) for index in range(len(model.exit_names)))


def prefix(model: MultiExit, exit_name: str) -> Part:
  """The network up to one exit as a whole: images [B, H, W, C] -> logits [B, classes].

  No other head is in it, but for the one before a cascade. The network is put into evaluation mode.
  """
  model.eval()
  last = model.exit_names.index(exit_name)
  heads = model.needed((exit_name,))

  def run(network: MultiExit, images: jax.Array) -> jax.Array:
    return network(images, (exit_name,))[:, 0]

  return Part(*_bound(model, _paths(model, range(last + 1), heads), run))


class Chain:
  """All segments of a network, compiled for batches of one shape.

  Args:
    segments: as of `cut`.
    image_shape: (images, height, width, channels), of uint8.

  Attributes:
    logits: form of the logits of an exit, [images, classes].
  """

  def __init__(self, segments: Sequence[Segment], image_shape: Sequence[int]):
    x: Any = jax.ShapeDtypeStruct(tuple(image_shape), np.uint8)
    logits: Any = None
    self._calls = []
    for segment in segments:
      before = logits if segment.sees_logits else None
      self._calls.append((segment, segment.compile(x, before)))
      x, logits = jax.eval_shape(segment.run, segment.leaves, x, before)
    self.logits = logits

  def __call__(self, images: np.ndarray) -> Iterator[jax.Array]:
    """Logits [B, classes] of one exit after the other; what nobody asks for does not run."""
    x: Any = images
    logits: Any = None
    for segment, call in self._calls:
      x, logits = call(segment.leaves, x, logits if segment.sees_logits else None)
      yield logits


def _segment(model: MultiExit, index: int) -> Segment:
  name, is_last = model.exit_names[index], index == len(model.exit_names) - 1

  def run(
    network: MultiExit, x: Any, before: jax.Array | None
  ) -> tuple[Features | None, jax.Array]:
    if index == 0:
      x = network._preprocess(x)
    for stage in network.segments[index]:
      x = network.backbone.stages[stage](x)
    said = () if before is None else (before,)
    return None if is_last else x, network.heads[name](feature_map(x), *said)

  leaves, bound = _bound(model, _paths(model, [index], [name]), run)
  return Segment(leaves, bound, isinstance(model.heads[name], CascadeHead))


def _paths(model: MultiExit, segments: Sequence[int], heads: Sequence[str]) -> set[tuple[str, ...]]:
  """State paths of what takes part; the first segment normalises pixels."""
  stages = {('backbone', 'stages', name) for index in segments for name in model.segments[index]}
  pixels = {('mean',), ('std',)} if 0 in segments else set()
  return {*stages, *pixels, *(('heads', name) for name in heads)}


def _bound(
  model: MultiExit, paths: set[tuple[str, ...]], function: Callable[..., Any]
) -> tuple[Leaves, Callable[..., Any]]:
  """The arrays under these paths, and `function(network, *inputs)` as one of those arrays."""

  def takes_part(path: tuple[Any, ...], value: object) -> bool:
    # Random keys are for dropout alone, which evaluation leaves out.
    return any(path[: len(p)] == p for p in paths) and not isinstance(value, nnx.RngState)

  graphdef, own, *rest = nnx.split(model, takes_part, ...)
  leaves, form = jax.tree.flatten(jax.device_put(own, jax.local_devices()[0]))

  def run(leaves: Leaves, *inputs: Any) -> Any:
    return function(nnx.merge(graphdef, jax.tree.unflatten(form, leaves), *rest), *inputs)

  return tuple(leaves), run
