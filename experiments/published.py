"""Accuracies that others have published, in published.csv, and those of our runs beside them."""

import csv
import pathlib

import numpy as np

from experiments.paired import analysis
from experiments.paired.table import Row, Rows
from mecl_jax.errors import UserError
from mecl_jax.evaluation.paired import over_seeds

TABLE = pathlib.Path(__file__).with_name('published.csv')


def read(path: pathlib.Path = TABLE) -> Rows:
  """A row per network, method and exit: `macs` per image and `accuracy`, 0 to 1, as published.

  `exit` is its place, 'exit1', .., 'final'.
  """
  with path.open(newline='', encoding='utf-8') as file:
    rows = Rows(csv.DictReader(file))
  return [row | {name: float(row[name]) for name in ('macs', 'accuracy')} for row in rows]


def of_network(rows: Rows, run: Row) -> dict[str, dict[str, Row]]:
  """Method -> place of the exit -> what is published of the network of a run.

  Raises:
    UserError: there is nothing.
  """
  found: dict[str, dict[str, Row]] = {}
  for row in rows:
    if all(row[name] == run[name] for name in ('backbone', 'dataset')):
      found.setdefault(row['method'], {})[row['exit']] = row
  if not found:
    raise UserError(f'nothing is published of {run["backbone"]} on {run["dataset"]}; leave it out')
  return found


def above(runs: Rows, measure: str, accuracy: float) -> Row:
  """By how many points runs, one per seed, are above an accuracy: with the interval of a t-test.

  Args:
    runs: of one arm.
    measure: as in `analysis`.
    accuracy: from 0 to 1; 0 gives the runs' own.

  Returns:
    `seeds`, `difference` in points, and `low` and `high` of its 95 % interval, None with one seed.
  """
  ours = np.array([analysis.measured(run, measure) for run in runs])
  if len(ours) == 1:
    return {'seeds': 1, 'difference': 100 * float(ours[0] - accuracy), 'low': None, 'high': None}
  effect = over_seeds(100 * ours, np.full(len(ours), 100 * accuracy))
  low, high = effect.difference_low, effect.difference_high
  return {'seeds': effect.pairs, 'difference': effect.difference, 'low': low, 'high': high}
