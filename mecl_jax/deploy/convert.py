"""Conversion of a network to ONNX models, one for each segment.

ONNX Runtime cannot stop within a model, so that a network that stops at its exits is a chain of
models. The number of images is symbolic in each.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.deploy.optimise import optimised
from mecl_jax.errors import UserError, first_line
from mecl_jax.inference.segments import Segment, cut
from mecl_jax.models import MultiExit
from mecl_jax.models.affine import for_export

OPSET = 18  # of ONNX; read by ONNX Runtime 1.14 (2023) and newer
IMAGES, BEFORE, LOGITS = 'images', 'before', 'logits'  # inputs and outputs of a segment


@dataclasses.dataclass(frozen=True)
class Features:
  """An output of a segment that is an input of the next one.

  Attributes:
    name: of the input and the output.
    dtype: for example 'float32'.
    shape: of one image, without the axis of the images; a feature map is [channels, height, width],
      as ONNX Runtime computes with it.
  """

  name: str
  dtype: str
  shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """A segment as an ONNX model.

  Its inputs are `IMAGES`, uint8 [B, height, width, channels], for the first segment, else the
  features of the segment before; a cascade also takes `BEFORE`, the logits of the exit before. Its
  outputs are `LOGITS`, float32 [B, classes], and its features.

  Attributes:
    data: the model, as in an .onnx file.
    takes_before: whether it is a cascade.
    features: outputs for the next segment; none for the last one.
  """

  data: bytes
  takes_before: bool
  features: tuple[Features, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class _Link:
  """A segment and the shapes of its inputs for one image.

  Attributes:
    exit_name: of the exit at its end.
    segment: the segment.
    x: shapes of the images, or of the features of the segment before.
    before: shape of the logits of the exit before; None if the segment does not take them.
    following: shapes of its features.
    used: for each leaf of `x`, whether the segment computes with it.
  """

  exit_name: str
  segment: Segment
  x: Any
  before: Any
  following: Any
  used: tuple[bool, ...]

  @property
  def inputs(self) -> list[Any]:
    """Shapes of the leaves of `x` that are used."""
    return list(itertools.compress(jax.tree.leaves(self.x), self.used))


def convert(model: MultiExit, image_shape: Sequence[int]) -> Iterator[Model]:
  """Yields the segments of a network as ONNX models, first to last.

  Args:
    model: computes in float32.
    image_shape: (height, width, channels) of the uint8 images.

  Raises:
    UserError: a segment has an operation that cannot be converted; the message names its exit.
  """
  inputs: tuple[Features, ...] = (Features(IMAGES, 'uint8', tuple(image_shape)),)
  chain = _chain(model, image_shape)
  for number, link in enumerate(chain, 1):
    used = chain[number].used if number < len(chain) else ()
    shapes = list(itertools.compress(jax.tree.leaves(link.following), used))
    features = tuple(
      Features(f'features_{number}_{k}', str(leaf.dtype), _channels_first(leaf.shape[1:]))
      for k, leaf in enumerate(shapes)
    )
    try:
      data = _converted(link, inputs, features, used)
    except Exception as error:  # the converter raises many kinds
      raise UserError(
        f'the segment of exit {link.exit_name} cannot be converted to ONNX: {first_line(error)};'
        ' choose another head or backbone'
      ) from error
    yield Model(data, link.segment.is_cascade, features)
    inputs = features


def _chain(model: MultiExit, image_shape: Sequence[int]) -> list[_Link]:
  """Returns the segments with the shapes of their inputs."""
  x: Any = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
  logits, links = None, list[_Link]()
  for exit_name, segment in zip(model.exit_names, cut(for_export(model)), strict=True):
    before = logits if segment.is_cascade else None
    following, logits = jax.eval_shape(segment.run, segment.leaves, x, before)
    links.append(_Link(exit_name, segment, x, before, following, _used(segment, x, before)))
    x = following
  return links


def _used(segment: Segment, x: Any, before: Any) -> tuple[bool, ...]:
  """Returns which leaves of `x` a segment computes with; of others, it needs the shape at most."""
  traced = jax.make_jaxpr(lambda x: segment.run(segment.leaves, x, _zeros(before)))(x).jaxpr
  read = {id(one) for equation in traced.eqns for one in equation.invars}
  read |= {id(one) for one in traced.outvars}
  return tuple(id(one) in read for one in traced.invars)


def _zeros(before: Any) -> jax.Array | None:
  """Returns logits of a shape, all 0; None for None."""
  return None if before is None else jnp.zeros(before.shape, before.dtype)


def _converted(
  link: _Link, inputs: Sequence[Features], features: Sequence[Features], kept: Sequence[bool]
) -> bytes:
  """Returns a segment as the bytes of an optimised ONNX model.

  Args:
    link: the segment.
    inputs: what it computes with, without the logits of the exit before.
    features: its outputs beside the logits.
    kept: for each leaf of `link.following`, whether it is one of these outputs.
  """
  from jax2onnx import to_onnx  # imported here: it takes seconds

  segment, shapes = link.segment, link.inputs
  before = [link.before] if segment.is_cascade else []

  def run(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    x = _filled(link, arrays[: len(shapes)])
    following, logits = segment.run(segment.leaves, x, arrays[-1] if before else None)
    return (logits, *itertools.compress(jax.tree.leaves(following), kept))

  # The converter warns of shapes in parts of the graph that are removed afterwards.
  logging.getLogger('onnx_ir').setLevel(logging.ERROR)
  made = to_onnx(
    run,
    [jax.ShapeDtypeStruct(('B', *one.shape[1:]), one.dtype) for one in (*shapes, *before)],
    opset=OPSET,
    input_names=[*(one.name for one in inputs), *(BEFORE for _ in before)],
    output_names=[LOGITS, *(one.name for one in features)],
    inputs_as_nchw=[k for k, one in enumerate(inputs) if _is_feature_map(one)],
    outputs_as_nchw=[k for k, one in enumerate(features, 1) if _is_feature_map(one)],
  )
  return optimised(made.SerializeToString())


def _filled(link: _Link, arrays: Sequence[jax.Array]) -> Any:
  """Returns the input of a segment from the arrays that it computes with, all others 0."""
  given, batch = iter(arrays), arrays[0].shape[0]
  leaves, form = jax.tree.flatten(link.x)
  return jax.tree.unflatten(
    form,
    [
      next(given) if used else jnp.zeros((batch, *leaf.shape[1:]), leaf.dtype)
      for leaf, used in zip(leaves, link.used, strict=True)
    ],
  )


def _is_feature_map(one: Features) -> bool:
  return len(one.shape) == 3 and one.name != IMAGES


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
  return (shape[-1], *shape[:-1]) if len(shape) == 3 else shape
