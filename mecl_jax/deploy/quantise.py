"""Smaller numbers for the ONNX models of a network: float16, and int8."""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import (
  CalibrationDataReader,
  QuantFormat,
  QuantType,
  quant_pre_process,
  quantize_static,
)

from mecl_jax.deploy.convert import IMAGES, Model
from mecl_jax.deploy.predict import BATCH, session, walk

NONE, FLOAT16, INT8 = 'none', 'float16', 'int8'
QUANTISED = (NONE, FLOAT16, INT8)


def to_float16(models: Sequence[Model]) -> list[Model]:
  """Returns models that compute in float16; inputs and outputs stay float32.

  A processor without float16 arithmetic computes them in float32, and is slower by the conversions.
  """
  from onnxruntime.transformers.float16 import convert_float_to_float16

  halves = (
    convert_float_to_float16(onnx.load_from_string(model.data), keep_io_types=True)
    for model in models
  )
  return [
    dataclasses.replace(model, data=half.SerializeToString())
    for model, half in zip(models, halves, strict=True)
  ]


def to_int8(
  models: Sequence[Model],
  images: np.ndarray,
  on_segment: Callable[[int], None] = lambda done: None,
) -> list[Model]:
  """Returns models that compute in int8, with a scale per channel of the weights.

  The ranges of all other values are those that the float32 models have on some images.

  Args:
    models: the segments, first to last, in float32.
    images: uint8 [N, height, width, channels], of the validation split.
    on_segment: is called with the number of segments done.

  References:
    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, arXiv 1712.05877.
  """
  sessions = [session(model.data) for model in models]
  batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
  feeds = [list[dict[str, np.ndarray]]() for _ in models]  # inputs of all batches, by segment
  for batch in batches:
    for of_segment, (inputs, _) in zip(feeds, walk(models, sessions, {IMAGES: batch}), strict=True):
      of_segment.append(inputs)
  made = list[Model]()
  for model, of_segment in zip(models, feeds, strict=True):
    made.append(dataclasses.replace(model, data=_quantised(model.data, of_segment)))
    on_segment(len(made))
  return made


class _Feeds(CalibrationDataReader):
  """Inputs of a model, one batch after the other."""

  def __init__(self, feeds: Sequence[dict[str, np.ndarray]]):
    self._feeds = iter(feeds)

  def get_next(self) -> dict[str, np.ndarray] | None:
    return next(self._feeds, None)


def _quantised(data: bytes, feeds: Sequence[dict[str, np.ndarray]]) -> bytes:
  with tempfile.TemporaryDirectory() as folder:
    given, prepared, made = (str(pathlib.Path(folder, f'{n}.onnx')) for n in range(3))
    pathlib.Path(given).write_bytes(data)
    quant_pre_process(given, prepared, skip_symbolic_shape=True)
    quantize_static(
      prepared,
      made,
      _Feeds(feeds),
      quant_format=QuantFormat.QDQ,
      per_channel=True,
      activation_type=QuantType.QUInt8,
      weight_type=QuantType.QInt8,
    )
    return pathlib.Path(made).read_bytes()
