"""The models of a bundle: how they are opened, and those of its bottlenecks."""

from __future__ import annotations

from typing import Any

import numpy as np

from mecl_jax.deploy.runtime.errors import BundleError, first_line, need
from mecl_jax.deploy.runtime.wire import bottleneck_of, is_bottleneck


def open_model(model: bytes, name: str, threads: int | None) -> Any:
  """Opens a model, which can run no code: no library of custom operators is ever loaded."""
  need(threads is None or threads > 0, f'threads is {threads}; it must be 1 or more')
  try:
    import onnxruntime
  except ImportError as error:
    raise BundleError(f'{first_line(error)}: pip install onnxruntime') from None
  options = onnxruntime.SessionOptions()
  options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
  options.log_severity_level = 4  # errors are raised; they need no other lines
  options.intra_op_num_threads = threads or 0
  # Each segment has its own threads. Spinning, they would wait for work after their segment, and
  # take the processor from the next one: 20 times slower where other programs run.
  options.add_session_config_entry('session.intra_op.allow_spinning', '0')
  try:
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
  except Exception as error:  # onnxruntime raises many kinds
    raise BundleError(f'{name} cannot be opened: {first_line(error)}') from None


class Coders:
  """The encoders and decoders of the bottlenecks of a bundle, which are opened at their first use.

  Args:
    bundle: the fields of bundle.json.
    files: content of its files by name.
    threads: as of `open_model`.
  """

  def __init__(self, bundle: dict[str, Any], files: dict[str, bytes], threads: int | None):
    self._bundle, self._files, self._threads = bundle, files, threads
    self._open: dict[str, Any] = {}  # by name of the file

  def encode(self, x: list[np.ndarray], start: int, send_as: str) -> list[np.ndarray]:
    """Returns the codes of the features before segment `start`.

    Without a bottleneck, as with `send_as='float16'`, these are the features themselves.
    """
    return self._run(x, start, send_as, 'encoder')

  def decode(self, x: list[np.ndarray], start: int, send_as: str) -> list[np.ndarray]:
    """Returns the features for segment `start` from what `encode` returned."""
    return self._run(x, start, send_as, 'decoder')

  def _run(self, x: list[np.ndarray], start: int, send_as: str, part: str) -> list[np.ndarray]:
    if not start or not is_bottleneck(send_as):
      return x
    found = bottleneck_of(self._bundle, start, send_as)
    ends = [found['codes'], self._bundle['exits'][start - 1]['features']]
    outputs, inputs = ([each['name'] for each in end] for end in ends)
    if part == 'decoder':
      outputs, inputs = inputs, outputs
    file = found[part]
    if file not in self._open:
      self._open[file] = open_model(self._files[file], file, self._threads)
    try:
      return self._open[file].run(outputs, dict(zip(inputs, x)))
    except Exception as error:  # onnxruntime raises many kinds
      raise BundleError(f'{file} cannot be run: {first_line(error)}') from None
