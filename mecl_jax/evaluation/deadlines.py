"""Accuracy under deadlines: the exit that answers in time, and its accuracy.

The latency of an exit is the time of the network up to and including its head, in seconds. A
distribution of deadlines is a function `seconds -> P(deadline < seconds)`.
"""

from collections.abc import Callable
import csv
import math
import os
import pathlib
from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError

Distribution = Callable[[np.ndarray], np.ndarray]
COLUMN = 'deadline_ms'


class Staircase(NamedTuple):
  """Accuracy as a step function of the deadline, and the exit that answers.

  Exit `exits[s]` answers for deadlines from `starts[s]` up to but without the next start. No exit
  answers before the first start.

  Attributes:
    starts: float64 [S], seconds, rising.
    exits: int [S], indices of exits, without those that are never chosen.
    accuracies: float64 [S + 1]: chance before the first start, then from each start on.
  """

  starts: np.ndarray
  exits: np.ndarray
  accuracies: np.ndarray


def deepest(latencies: np.ndarray, accuracies: np.ndarray, classes: int) -> Staircase:
  """Returns the staircase where the deepest exit in time answers, whatever its accuracy.

  Args:
    latencies: float [exits], seconds; a deeper exit may be faster than an earlier one.
    accuracies: float [exits], on the test split, 0..1.
    classes: number of classes; where no exit is in time, the accuracy is 1 / classes.

  Raises:
    UserError: a latency is not a finite number above 0, or the lengths differ.

  Examples:
    >>> stairs = deepest(np.array([0.001, 0.004]), np.array([0.6, 0.9]), classes=10)
    >>> accuracy_at(stairs, np.array([0.0005, 0.002, 0.005])).tolist()
    [0.1, 0.6, 0.9]
  """
  return most_accurate(latencies, accuracies, classes, np.arange(len(accuracies)))


def most_accurate(
  latencies: np.ndarray, accuracies: np.ndarray, classes: int, validation_accuracies: np.ndarray
) -> Staircase:
  """Returns the staircase where the exit in time that is most accurate on validation answers.

  Among equally accurate exits, the fastest answers.

  Args:
    latencies, accuracies, classes: as of `deepest`.
    validation_accuracies: float [exits], on the validation split; they choose the exit.

  Raises:
    UserError: as `deepest`.
  """
  latencies, merit = np.asarray(latencies, np.float64), np.asarray(validation_accuracies)
  if not len(latencies) == len(accuracies) == len(merit):
    raise UserError(
      f'there are latencies of {len(latencies)} exits, but accuracies of {len(accuracies)} (test) '
      f'and {len(merit)} (validation); take all from the same network'
    )
  if not (np.isfinite(latencies) & (latencies > 0)).all():
    raise UserError(f'latencies are {latencies.tolist()}; they must be above 0: measure them again')
  order = np.lexsort((-merit, latencies))  # by latency; among equals, the best first
  before = np.maximum.accumulate(merit[order])[:-1]
  chosen = order[np.append(True, merit[order][1:] > before)]
  steps = np.append(1 / classes, np.asarray(accuracies, np.float64)[chosen])
  return Staircase(latencies[chosen], chosen, steps)


def accuracy_at(stairs: Staircase, deadlines: np.ndarray) -> np.ndarray:
  """Returns the accuracy for deadlines in seconds, of any shape.

  An exit whose latency equals the deadline is in time.
  """
  return stairs.accuracies[np.searchsorted(stairs.starts, deadlines, side='right')]


def expected_accuracy(stairs: Staircase, distribution: Distribution) -> float:
  """Returns the mean of `accuracy_at` over a distribution of deadlines, in closed form."""
  below = np.concatenate(([0], distribution(stairs.starts), [1]))
  return float(np.diff(below) @ stairs.accuracies)


def uniform(low: float, high: float) -> Distribution:
  """Returns the uniform distribution from `low` to `high`, in seconds, which may be equal.

  Raises:
    UserError: not 0 <= low <= high < infinity.
  """
  if not 0 <= low <= high < math.inf:
    raise UserError(f'uniform deadlines go from {low} to {high} s; use 0 <= low <= high')
  if low == high:
    return empirical(np.array([low]))
  return lambda seconds: np.clip((np.asarray(seconds) - low) / (high - low), 0, 1)


def exponential(mean: float) -> Distribution:
  """Returns the exponential distribution with this mean, in seconds.

  Raises:
    UserError: the mean is not above 0 and finite.
  """
  if not 0 < mean < math.inf:
    raise UserError(f'the mean of exponential deadlines is {mean} s; it must be above 0')
  return lambda seconds: -np.expm1(-np.maximum(seconds, 0) / mean)


def empirical(deadlines: np.ndarray) -> Distribution:
  """Returns the distribution of deadlines in seconds, [N], that are equally frequent."""
  ordered = np.sort(deadlines)
  return lambda seconds: np.searchsorted(ordered, seconds, side='left') / len(ordered)


def read_trace(path: str | os.PathLike) -> np.ndarray:
  """Reads deadlines from a CSV file.

  Args:
    path: text file with one number, in milliseconds, per line; the first line may be the heading
      `deadline_ms`. Empty lines are skipped.

  Returns:
    float64 [N], in seconds.

  Raises:
    UserError: the file cannot be read, has another heading or more columns, has no deadline, or a
      deadline is not a number of 0 or more.
  """
  try:
    with pathlib.Path(path).open(encoding='utf-8-sig', newline='') as file:
      reader = csv.reader(file)
      lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise UserError(f'{path} cannot be read as a CSV file of deadlines: {error}') from None
  if lines and [cell.strip() for cell in lines[0][1]] == [COLUMN]:
    del lines[0]
  if not lines:
    raise UserError(f'{path} has no deadline; write one per line, in milliseconds')
  return np.array([_milliseconds(path, number, row) for number, row in lines]) / 1000


def _milliseconds(path: str | os.PathLike, line: int, row: list[str]) -> float:
  """Returns the number in a line of a trace."""
  try:
    (cell,) = row
    value = float(cell)
  except ValueError:
    value = math.nan
  if not 0 <= value < math.inf:
    raise UserError(
      f'line {line} of {path} is {",".join(row)[:40]!r}; every line must be one number of '
      f'milliseconds, 0 or above, and the first may be {COLUMN}'
    )
  return value
