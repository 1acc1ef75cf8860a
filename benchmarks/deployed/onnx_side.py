"""A bundle, by its early_exit.py alone."""

import importlib.util
import itertools
import pathlib
import time
from typing import Any

import numpy as np

from benchmarks.deployed.timing import Call, Test, effect, in_batches, mean_ms, read_test, saved

WHOLE = 'whole.onnx'  # the network without early exits, in the folder of the test images
MEASURE_SECONDS = 2.0  # of the times of the segments, for deadlines

_module: Any = None  # early_exit.py
_network: Any = None  # its `Network`
_whole: Any = None  # a session of ONNX Runtime
_test: Test


def open_bundle(bundle: str, folder: str, threads: int) -> dict[str, Any]:
  """Opens a bundle, the test images and, if it is there, the whole network; returns versions."""
  global _module, _network, _whole, _test
  spec = importlib.util.spec_from_file_location('early_exit', pathlib.Path(bundle, 'early_exit.py'))
  assert spec and spec.loader
  _module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(_module)
  _network, _test = _module.Network(bundle, threads), read_test(folder)
  whole = pathlib.Path(folder, WHOLE)
  if whole.exists():
    _whole = _module.open_model(whole.read_bytes(), WHOLE, threads)
  import onnxruntime

  return {'onnxruntime': onnxruntime.__version__}


def prepare(kind: str, name: str, batch: int, calls: int) -> dict[str, float]:
  """Answers the first images of `measure`; returns the mean exit and the accuracy."""
  test, call = _test.first(batch * calls), _call(kind, name)
  answers = map(call, in_batches(test.images, batch))
  exits, logits = (np.concatenate(part) for part in zip(*answers, strict=True))
  return effect(exits, logits, test.labels)


def measure(kind: str, name: str, batch: int, calls: int) -> float:
  """Returns the mean milliseconds of some batches.

  Args:
    kind: 'exit': all images stop at one exit; 'point': they leave by a policy of the bundle;
      'whole': the network without early exits, as one model.
    name: of the exit or of the policy.
    batch: images per batch.
    calls: batches.
  """
  return mean_ms(_call(kind, name), in_batches(_test.first(batch * calls).images, batch))


def _call(kind: str, name: str) -> Call:
  """Returns a function of images that returns exits and logits."""
  if kind == 'whole':
    return _run_whole
  policy = _network.policy(name) if kind == 'point' else _stopping_at(name)
  return lambda images: _network.run_batch(images, policy)


def _run_whole(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  (logits,) = _whole.run(['logits'], {'images': images})
  return np.full(len(images), _last()), logits


def _last() -> int:
  return len(_network.bundle['exits']) - 1


def _stopping_at(name: str) -> Any:
  """Returns the policy that stops all images at one exit."""
  early = _network.bundle['exits'][:-1]
  thresholds = ['-inf' if each['name'] == name else 'inf' for each in early]
  return _module.Policy(
    {'rule': 'fixed', 'features': [], 'coefficients': [], 'thresholds': thresholds}
  )


def saving(name: str, batch: int, count: int, turns: int) -> dict[str, Any]:
  """Measures the time that a policy saves, and the saving that the segments' times allow.

  As `mecl_jax.inference.measure_saving`: the whole network without early exits, early exit, and the
  segments one by one take turns on every batch; see `timing.saved`.

  Args:
    name: of the policy.
    batch: images per batch.
    count: batches.
    turns: measurements of every batch.
  """
  batches = in_batches(_test.first(batch * count).images, batch)
  early, marks = _call('point', name), _Marks(_stopping_at(''))
  exits = np.array([early(images)[0] for images in batches])
  spent = np.empty((turns, count, 2 + _last() + 1))
  orders = itertools.cycle(itertools.permutations(range(3)))  # no fixed predecessor
  for turn in range(turns):
    for each in next(orders):
      for number, images in enumerate(batches):
        if each == 2:
          spent[turn, number, 2:] = marks.segments_ms(images)
        else:
          began = time.perf_counter()
          (_run_whole if each == 0 else early)(images)
          spent[turn, number, each] = (time.perf_counter() - began) * 1000
  return {'policy': name, 'batch': batch, 'images': batch * count, **saved(spent, exits)}


class _Marks:
  """A policy by which no image leaves early, and that notes when each segment ends."""

  def __init__(self, policy: Any):
    self._policy, self.last = policy, policy.last
    self._ends: list[float] = []

  def leaving(self, by_exit: list[np.ndarray], rows: Any = 0) -> np.ndarray:
    self._ends.append(time.perf_counter())
    return self._policy.leaving(by_exit, rows)

  def segments_ms(self, images: np.ndarray) -> np.ndarray:
    """Returns the milliseconds of each segment."""
    self._ends = [time.perf_counter()]
    _network.run_batch(images, self)
    return np.diff(self._ends) * 1000


def full_latency() -> float:
  """Measures the segments for `deadlines`; returns the milliseconds of all of them for an image."""
  return float(np.median(_network.measure(MEASURE_SECONDS).sum(axis=1)))


def deadlines(deadline_ms: float, count: int) -> dict[str, float]:
  """Answers test images one by one within a deadline.

  Returns:
    share in time, mean exit (from 0), accuracy, accuracy where a late answer counts as wrong, and
    median and 99th percentile of the time.
  """
  test = _test.first(count)
  _network.slowdown = 1.0  # not that of the deadline before
  answers = [_network.answer(image, deadline_ms=deadline_ms) for image in test.images]
  in_time = np.array([answer.in_time for answer in answers])
  right = np.array([answer.class_number for answer in answers]) == test.labels
  p50, p99 = np.quantile([answer.elapsed_ms for answer in answers], (0.5, 0.99)).tolist()
  return {
    'deadline_ms': deadline_ms,
    'in_time': float(in_time.mean()),
    'mean_exit': float(np.mean([answer.exit for answer in answers])),
    'accuracy': float(right.mean()),
    'accuracy_in_time': float((right & in_time).mean()),
    'p50_ms': p50,
    'p99_ms': p99,
  }
