"""Searches: the points of a grid that an arm tries, and the choice of the best."""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

import numpy as np

from experiments.paired.table import Row

Fields = Mapping[str, Any]  # 'model.width' -> value, of `mecl_jax.config`
Space = Mapping[str, Sequence[Any]]  # the values to try of each field

ALL_EXITS = 'all exits'


def is_rate(field: str) -> bool:
  """Returns whether a field is a learning rate, whose values all searched arms share."""
  return field.endswith('.learning_rate')


def points(space: Space, limit: int | None = None) -> list[Fields]:
  """Returns all combinations of a space's values, or a random subset with all learning rates.

  Args:
    space: the values of each field.
    limit: the most points, a multiple of the number of learning rates; None for no limit.

  Returns:
    points in the order of the grid. In a subset every learning rate occurs equally often, so that
    arms with larger grids try the same rates. It is always the same subset, so that several
    machines can share a search.
  """
  grid = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
  if limit is None or len(grid) <= limit:
    return list(grid)
  shuffled = np.random.default_rng(0).permutation(len(grid)).tolist()
  of_rate: dict[tuple, list[int]] = {}
  for place in shuffled:
    rates = tuple(value for field, value in grid[place].items() if is_rate(field))
    of_rate.setdefault(rates, []).append(place)
  each = limit // len(of_rate)
  return [grid[place] for place in sorted(p for places in of_rate.values() for p in places[:each])]


def best_trials(rows: Sequence[Row]) -> dict[str, int]:
  """Chooses the best trial of a search for each key of `judged`, by the mean over seeds.

  Args:
    rows: all runs of the search.

  Returns:
    numbers of trials, the first of equals. A trial that failed with any seed is left out; {} if
    all failed.
  """
  failed = {row['trial'] for row in rows if row['error']}
  worth: dict[str, dict[int, list[float]]] = {}
  for row in rows:
    if row['trial'] not in failed:
      for judge, value in judged(row).items():
        worth.setdefault(judge, {}).setdefault(row['trial'], []).append(value)
  means = {
    judge: {trial: float(np.mean(found[trial])) for trial in sorted(found)}
    for judge, found in worth.items()
  }
  return {judge: max(found, key=found.__getitem__) for judge, found in means.items()}


def judged(row: Row) -> dict[str, float]:
  """Returns the validation accuracies that trials are compared by; {} if the trial failed.

  Heads on a frozen shared backbone are trained independently, so each exit, 'exit1', 'exit2', ..,
  has its own. Otherwise it is the mean over the exits, 'all exits'.
  """
  early = {
    column.removeprefix('validation_'): value
    for column, value in row.items()
    if column.startswith('validation_exit') and value is not None
  }
  if not early or (row['backbone_run'] and row['strategy'] == 'classifier_wise'):
    return early
  return {ALL_EXITS: float(np.mean([*early.values()]))}
