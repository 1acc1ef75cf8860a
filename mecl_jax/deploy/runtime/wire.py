"""The wire between a device and a server: what one image needs for the next segment, as bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mecl_jax.deploy.runtime.errors import need
from mecl_jax.deploy.runtime.files import bottlenecks_of

# The body of a request is the image, or the feature maps behind an exit, and then the logits of
# that exit if the next segment takes them; all numbers are little-endian. Both sides know its
# length from bundle.json, so that it needs no description of itself.

PRECISIONS = ('float16', 'int8')  # that feature maps of real numbers are sent in
BOTTLENECK = 'bottleneck'  # and the number of channels: codes are sent instead
LARGEST_FLOAT16, LARGEST_INT8 = 65504, 127


def codings_of(bundle: dict[str, Any], start: int) -> tuple[str, ...]:
  """Returns what can be sent to continue with segment `start`: precisions, and bottlenecks."""
  return (*PRECISIONS, *_bottlenecks(bundle, start))


def is_bottleneck(send_as: str) -> bool:
  """Returns whether codes are sent instead of feature maps."""
  return send_as.startswith(BOTTLENECK)


def bottleneck_of(bundle: dict[str, Any], start: int, send_as: str) -> dict[str, Any]:
  """Returns the bottleneck 'bottleneck<channels>' before segment `start`."""
  return _bottlenecks(bundle, start)[send_as]


def _bottlenecks(bundle: dict[str, Any], start: int) -> dict[str, dict[str, Any]]:
  found = bottlenecks_of(bundle['exits'][start - 1]) if start else []
  return {f'{BOTTLENECK}{each["channels"]}': each for each in found}


def inputs_of(
  bundle: dict[str, Any], start: int, send_as: str
) -> list[tuple[np.dtype[Any], list[int]]]:
  """Returns dtype and shape, for one image, of what is sent for segment `start` beside logits.

  Args:
    bundle: the fields of bundle.json.
    start: number of the segment, from 0.
    send_as: one of `codings_of`.
  """
  if start == 0:
    return [(np.dtype('uint8'), bundle['image_shape'])]
  if is_bottleneck(send_as):
    features = bottleneck_of(bundle, start, send_as)['codes']
  else:
    features = bundle['exits'][start - 1]['features']
  return [(np.dtype(each['dtype']), each['shape']) for each in features]


def body_length(bundle: dict[str, Any], start: int, send_as: str) -> int:
  """Returns the bytes of a request that continues with segment `start`."""
  length = 4 * len(bundle['class_names']) if bundle['exits'][start]['takes_before'] else 0
  for dtype, shape in inputs_of(bundle, start, send_as):
    is_real = dtype.kind == 'f'
    size = np.dtype(send_as).itemsize if is_real else dtype.itemsize
    length += size * math.prod(shape) + (4 if is_real and send_as == 'int8' else 0)
  return length


def pack(
  bundle: dict[str, Any], start: int, send_as: str, x: list[np.ndarray], before: np.ndarray | None
) -> bytes:
  """Returns the body of a request.

  Args:
    bundle: the fields of bundle.json.
    start: number of the segment that continues, from 0.
    send_as: 'float16'; or 'int8', where each feature map is sent as its scale, float32, and whole
      numbers from -127 to 127; or a bottleneck. Whole numbers, as codes, are sent as they are.
    x: features of the segment before or their codes, or the image, [1, ..] each.
    before: float32 [1, classes], the logits of the exit before.

  Raises:
    BundleError: a number is infinite or NaN.
  """
  parts: list[np.ndarray] = []
  for array in x:
    if array.dtype.kind != 'f':
      parts.append(array)
      continue
    largest = float(np.abs(array).max())
    need(math.isfinite(largest), 'the features are not finite: export the network as float32')
    if send_as == 'float16':
      parts.append(array.clip(-LARGEST_FLOAT16, LARGEST_FLOAT16).astype('<f2'))
    else:
      # Below the smallest normal number, a scale would lose its digits or be 0.
      scale = np.array(largest / LARGEST_INT8 if largest > 1e-30 else 1, '<f4')
      whole = np.rint(array.astype(np.float32) / scale).clip(-LARGEST_INT8, LARGEST_INT8)
      parts += [scale, whole.astype('i1')]
  if bundle['exits'][start]['takes_before'] and before is not None:
    parts.append(before.astype('<f4'))
  return b''.join(part.tobytes() for part in parts)


def unpack(
  bundle: dict[str, Any], start: int, send_as: str, body: bytes
) -> tuple[list[np.ndarray], np.ndarray | None]:
  """Returns what `pack` was given, as exact as it was sent.

  Raises:
    BundleError: the body has another length, a scale is not above 0, or a number is infinite or
      NaN.
  """
  expected = body_length(bundle, start, send_as)
  need(len(body) == expected, f'the body has {len(body)} bytes; it must have {expected}')
  at = 0

  def take(dtype: str, shape: list[int]) -> np.ndarray:
    nonlocal at
    count = math.prod(shape)
    array = np.frombuffer(body, dtype, count, at).reshape(1, *shape)
    at += array.nbytes
    return array

  x: list[np.ndarray] = []
  for dtype, shape in inputs_of(bundle, start, send_as):
    if dtype.kind != 'f':
      x.append(take(dtype.str, shape).copy())
    elif send_as == 'float16':
      x.append(take('<f2', shape).astype(dtype))
    else:
      scale = take('<f4', [])[0]
      need(0 < scale < math.inf, f'a scale is {scale}; it must be above 0, finite')
      x.append((take('i1', shape) * scale).astype(dtype))
  takes_before = bundle['exits'][start]['takes_before']
  before = take('<f4', [len(bundle['class_names'])]) if takes_before else None
  for array in x if before is None else [*x, before]:
    need(np.isfinite(array).all(), 'the body has numbers that are not finite')
  return x, before if before is None else before.astype(np.float32)
