"""Searches: the points of a space that an arm tries, and the choice of the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from experiments.paired.table import Row

Fields = Mapping[str, Any]  # 'model.width' -> value, of `mecl_jax.config`
# Values of a field: (lowest, highest), uniform in the logarithm, or a list of values.
Space = Mapping[str, tuple[float, float] | list[Any]]

ALL_EXITS = 'all exits'


def points(space: Space, count: int) -> list[Fields]:
  """Draws points of a space as a Latin hypercube, in which every number has `count` values.

  The points are always the same, so that several machines can share a search.

  References:
    McKay, Beckman and Conover, "A Comparison of Three Methods for Selecting Values of Input
    Variables", Technometrics 21(2), 1979.
  """
  if not space:
    return [{}] * count
  drawn = qmc.LatinHypercube(len(space), rng=np.random.default_rng(0)).random(count)
  return [
    {name: _at(where, share) for (name, where), share in zip(space.items(), row, strict=True)}
    for row in drawn.tolist()
  ]


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


def _at(where: tuple[float, float] | list[Any], share: float) -> Any:
  if isinstance(where, list):
    return where[int(share * len(where))]
  low, high = where
  return float(f'{low * (high / low) ** share:.3g}')
