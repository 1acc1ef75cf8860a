"""Accuracy under deadlines: which exit answers in time, and how often it is right.

The latency of an exit is that of the prefix of the network up to it, its head included, in seconds.
A distribution of deadlines is a function `seconds -> P(deadline < seconds)`.
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
  """Accuracy against the deadline, and who answers.

  Exit `exits[s]` answers for deadlines from `starts[s]` up to, not with, the next start; before the
  first start nobody does.
  """

  starts: np.ndarray  # float64 [S], seconds, rising
  exits: np.ndarray  # int [S], indices of exits; one that is never the choice is not there
  accuracies: np.ndarray  # float64 [S + 1]: chance before the first start, then from each start on


def deepest(latencies: np.ndarray, accuracies: np.ndarray, classes: int) -> Staircase:
  """The deepest exit that is in time answers, be it better or worse than those before it.

  Args:
    latencies: [exits], seconds; a deeper exit may be faster than one before it.
    accuracies: [exits], of the test split.
    classes: of the data set; where no exit is in time, the accuracy is 1 / classes.

  Raises:
    UserError: a latency is not a number above 0, or there is not one for each exit.
  """
  return most_accurate(latencies, accuracies, classes, np.arange(len(accuracies)))


def most_accurate(
  latencies: np.ndarray, accuracies: np.ndarray, classes: int, validation_accuracies: np.ndarray
) -> Staircase:
  """Of the exits in time, the most accurate one on validation answers; of equals the fastest.

  Args:
    latencies: as of `deepest`, like `accuracies`, `classes` and the errors.
    validation_accuracies: [exits], which choose; `accuracies` only say what the choice is worth.
  """
  latencies, merit = np.asarray(latencies, np.float64), np.asarray(validation_accuracies)
  if not len(latencies) == len(accuracies) == len(merit):
    raise UserError(
      f'there are latencies of {len(latencies)} exits, but accuracies of {len(accuracies)} (test) '
      f'and {len(merit)} (to choose by); take all from the same network'
    )
  if not (np.isfinite(latencies) & (latencies > 0)).all():
    raise UserError(f'latencies are {latencies.tolist()}; they must be above 0: measure them again')
  order = np.lexsort((-merit, latencies))  # by latency, the best first where these are equal
  before = np.maximum.accumulate(merit[order])[:-1]
  chosen = order[np.append(True, merit[order][1:] > before)]
  worth = np.append(1 / classes, np.asarray(accuracies, np.float64)[chosen])
  return Staircase(latencies[chosen], chosen, worth)


def accuracy_at(stairs: Staircase, deadlines: np.ndarray) -> np.ndarray:
  """Accuracy for fixed deadlines, seconds, of any shape; who takes exactly as long is in time."""
  return stairs.accuracies[np.searchsorted(stairs.starts, deadlines, side='right')]


def expected_accuracy(stairs: Staircase, distribution: Distribution) -> float:
  """Mean of `accuracy_at` over a distribution of deadlines, in closed form."""
  below = np.concatenate(([0], distribution(stairs.starts), [1]))
  return float(np.diff(below) @ stairs.accuracies)


def uniform(low: float, high: float) -> Distribution:
  """Deadlines spread evenly from `low` to `high`, seconds; where these are equal, always that one.

  Raises:
    UserError: not 0 <= low <= high < infinity.
  """
  if not 0 <= low <= high < math.inf:
    raise UserError(f'uniform deadlines from {low} to {high} s; write them as 0 <= low <= high')
  if low == high:
    return empirical(np.array([low]))
  return lambda seconds: np.clip((np.asarray(seconds) - low) / (high - low), 0, 1)


def exponential(mean: float) -> Distribution:
  """Exponentially distributed deadlines of this mean, seconds.

  Raises:
    UserError: the mean is not above 0 and finite.
  """
  if not 0 < mean < math.inf:
    raise UserError(f'the mean of exponential deadlines is {mean} s; it must be above 0')
  return lambda seconds: -np.expm1(-np.maximum(seconds, 0) / mean)


def empirical(deadlines: np.ndarray) -> Distribution:
  """Each of these deadlines, seconds [N], equally often."""
  ordered = np.sort(deadlines)
  return lambda seconds: np.searchsorted(ordered, seconds, side='left') / len(ordered)


def read_trace(path: str | os.PathLike) -> np.ndarray:
  """Deadlines from a CSV file, in seconds, float64 [N].

  Args:
    path: of a text file with one number, in milliseconds, on a line; the first line may be the
      heading `deadline_ms`. Empty lines are skipped.

  Raises:
    UserError: the file cannot be read, has another heading or more columns, holds no deadline, or
      one that is not a number of at least 0.
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
    raise UserError(f'{path} holds no deadline; write one per line, in milliseconds')
  return np.array([_milliseconds(path, number, row) for number, row in lines]) / 1000


def _milliseconds(path: str | os.PathLike, line: int, row: list[str]) -> float:
  """The one number of a line of a trace."""
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
