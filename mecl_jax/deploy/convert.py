"""Conversion of a network to ONNX models, one for each segment.

ONNX Runtime cannot stop within a model, so that a network that stops at its exits is a chain of
models. The number of images is symbolic in each.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import itertools
import logging
from typing import Any

import jax

from mecl_jax.deploy.bottleneck import Bottleneck
from mecl_jax.deploy.links import Link, chain
from mecl_jax.deploy.optimise import optimised
from mecl_jax.errors import UserError, first_line
from mecl_jax.models import MultiExit

OPSET = 18  # of ONNX; read by ONNX Runtime 1.14 (2023) and newer
PASSED = ('float32', 'uint8', 'int8')  # types of features; see `runtime/files.py`
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
class Codec:
  """A bottleneck as two ONNX models.

  Attributes:
    channels: of the codes.
    encoder: model that takes the features of a segment, and returns their codes.
    decoder: model that takes codes, and returns features for the next segment.
    codes: outputs of the encoder.
  """

  channels: int
  encoder: bytes
  decoder: bytes
  codes: tuple[Features, ...]


def convert(model: MultiExit, image_shape: Sequence[int]) -> Iterator[Model]:
  """Yields the segments of a network as ONNX models, first to last.

  Args:
    model: computes in float32.
    image_shape: (height, width, channels) of the uint8 images.

  Raises:
    UserError: a segment has an operation that cannot be converted; the message names its exit.
  """
  inputs: tuple[Features, ...] = (Features(IMAGES, 'uint8', tuple(image_shape)),)
  links = chain(model, image_shape)
  for number, link in enumerate(links, 1):
    used = links[number].used if number < len(links) else ()
    shapes = list(itertools.compress(jax.tree.leaves(link.following), used))
    features = tuple(
      Features(f'features_{number}_{k}', str(leaf.dtype), channels_first(leaf.shape[1:]))
      for k, leaf in enumerate(shapes)
    )
    for one in features:
      if one.dtype not in PASSED:
        raise UserError(
          f'what passes on after exit {link.exit_name} has the type {one.dtype}, and a bundle can'
          f' pass on {", ".join(PASSED)}; compute it as float32'
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


def convert_bottleneck(bottleneck: Bottleneck, features: Sequence[Features], number: int) -> Codec:
  """Returns a bottleneck as two ONNX models.

  Args:
    bottleneck: before the segment that takes the features.
    features: outputs of the segment before.
    number: of the exit behind which it is, from 1, for the names of its codes.

  Raises:
    UserError: it cannot be converted.
  """
  shapes = bottleneck.link.inputs
  made = jax.eval_shape(bottleneck.encode, shapes)
  codes = tuple(
    Features(f'codes_{number}_{k}', 'uint8', channels_first(one.shape[1:]))
    for k, one in enumerate(made)
  )
  try:
    encoder = _to_onnx(lambda *x: tuple(bottleneck.encode(x)), shapes, features, codes)
    decoder = _to_onnx(lambda *x: tuple(bottleneck.decode(x)), made, codes, features)
  except Exception as error:  # the converter raises many kinds
    raise UserError(
      f'a bottleneck cannot be converted to ONNX: {first_line(error)}; export without'
      ' export.bottlenecks'
    ) from error
  return Codec(bottleneck.channels, encoder, decoder, codes)


def _converted(
  link: Link, inputs: Sequence[Features], features: Sequence[Features], kept: Sequence[bool]
) -> bytes:
  """Returns a segment as the bytes of an optimised ONNX model.

  Args:
    link: the segment.
    inputs: what it computes with, without the logits of the exit before.
    features: its outputs beside the logits.
    kept: for each leaf of `link.following`, whether it is one of these outputs.
  """
  segment, shapes, given = link.segment, link.inputs, list(inputs)
  if segment.is_cascade:
    shapes = [*shapes, link.before]
    given.append(Features(BEFORE, 'float32', link.before.shape[1:]))

  def run(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    before = arrays[-1] if segment.is_cascade else None
    following, logits = segment.run(segment.leaves, link.filled(arrays[: len(inputs)]), before)
    passed = itertools.compress(jax.tree.leaves(following), kept)
    # What only passes through would be input and output of one name.
    return (logits, *(y + 0 if any(y is x for x in arrays) else y for y in passed))

  return _to_onnx(run, shapes, given, [Features(LOGITS, 'float32', (0,)), *features])


def _to_onnx(
  run: Callable[..., tuple[jax.Array, ...]],
  shapes: Sequence[Any],
  inputs: Sequence[Features],
  outputs: Sequence[Features],
) -> bytes:
  """Returns a function of arrays [B, ..] as the bytes of an optimised ONNX model.

  Args:
    run: the function.
    shapes: of its arguments, for one image.
    inputs, outputs: their names, and shapes in ONNX.
  """
  from jax2onnx import to_onnx  # imported here: it takes seconds

  # The converter warns of shapes in parts of the graph that are removed afterwards.
  logging.getLogger('onnx_ir').setLevel(logging.ERROR)
  made = to_onnx(
    run,
    [jax.ShapeDtypeStruct(('B', *one.shape[1:]), one.dtype) for one in shapes],
    opset=OPSET,
    input_names=[one.name for one in inputs],
    output_names=[one.name for one in outputs],
    inputs_as_nchw=[k for k, one in enumerate(inputs) if _is_feature_map(one)],
    outputs_as_nchw=[k for k, one in enumerate(outputs) if _is_feature_map(one)],
  )
  return optimised(made.SerializeToString())


def _is_feature_map(one: Features) -> bool:
  return len(one.shape) == 3 and one.name != IMAGES


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the shape in ONNX of features of one image; those of tokens stay as they are."""
  return (shape[-1], *shape[:-1]) if len(shape) == 3 else shape
