"""Accuracies that others have published, in published.csv, beside those of our runs."""

import itertools
import pathlib

import numpy as np
import pandas as pd

from experiments import wording
from experiments.paired.table import Row, exits_of, places
from mecl_jax.errors import UserError
from mecl_jax.evaluation.paired import over_seeds

TABLE = pathlib.Path(__file__).with_name('published.csv')


def of_network(backbone: str, dataset: str) -> pd.DataFrame:
  """Returns what is published of a network, empty if nothing is.

  Columns: `method`, `exit` ('exit1', .., 'final'), `macs` per image, `accuracy` from 0 to 1.
  """
  table = pd.read_csv(TABLE)
  return table[(table['backbone'] == backbone) & (table['dataset'] == dataset)]


def accuracy_of(table: pd.DataFrame, method: str, place: str) -> float:
  """Returns the published accuracy of a method at an exit, given the table of its network.

  Raises:
    UserError: there is none.
  """
  found = table.loc[(table['method'] == method) & (table['exit'] == place), 'accuracy']
  if found.empty:
    methods = ', '.join(table['method'].unique())
    raise UserError(f'nothing is published of {method!r} at {place!r}; methods: {methods}')
  return float(found.iloc[0])


def above(runs: pd.DataFrame, place: str, accuracy: float = 0.0) -> Row:
  """Compares the test accuracy of runs, one per seed, with a constant, by a t-test.

  Args:
    runs: of one arm.
    place: of the exit, 'exit1', .., 'final'.
    accuracy: from 0 to 1; 0 gives the accuracy of the runs themselves.

  Returns:
    `seeds`, `difference` in points, and `low` and `high` of its 95 % interval, NaN with one seed.
  """
  ours = 100 * runs[f'test_{place}'].to_numpy()
  if len(ours) == 1:
    return {'seeds': 1, 'difference': ours[0] - 100 * accuracy, 'low': np.nan, 'high': np.nan}
  effect = over_seeds(ours, np.full(len(ours), 100 * accuracy))
  low, high = effect.difference_low, effect.difference_high
  return {'seeds': effect.pairs, 'difference': effect.difference, 'low': low, 'high': high}


def levels(runs: pd.DataFrame) -> list[Row]:
  """Returns rows of accuracies of a network: published methods first, then our arms.

  Empty if nothing is published of the network of these runs.
  """
  first, theirs, exits = _network(runs)
  if theirs.empty:
    return []
  macs = theirs.drop_duplicates('exit').set_index('exit')['macs']
  ours = map(int, first['macs'].split())
  rows = [
    {'': 'MACs, published'} | {name: f'{macs[place] / 1e6:.0f} M' for name, place in exits.items()},
    {'': 'MACs, ours'} | {n: f'{cost / 1e6:.0f} M' for n, cost in zip(exits, ours, strict=True)},
  ]
  for method in theirs['method'].unique():
    shares = {name: accuracy_of(theirs, method, place) for name, place in exits.items()}
    rows.append({'': method} | {name: f'{100 * share:.2f} %' for name, share in shares.items()})
  for arm, of_arm in runs.groupby('arm'):
    cells = {name: wording.level(above(of_arm, place)) for name, place in exits.items()}
    rows.append({'': f'`{arm}`, ours'} | cells)
  return rows


def differences(runs: pd.DataFrame) -> list[Row]:
  """Returns rows of our accuracies less those of each published method, in points."""
  _, theirs, exits = _network(runs)
  rows = []
  for (arm, of_arm), method in itertools.product(runs.groupby('arm'), theirs['method'].unique()):
    row: Row = {'': f'`{arm}` less {method}'}
    for name, place in exits.items():
      row[name] = wording.points(above(of_arm, place, accuracy_of(theirs, method, place)))
    rows.append(row)
  return rows


def _network(runs: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame, dict[str, str]]:
  """Returns a run, what is published of its network, and its exits: 'exit 1' -> 'exit1'."""
  first = runs.iloc[0]
  exits = {place.replace('exit', 'exit '): place for place in places(len(exits_of(first)) - 1)}
  return first, of_network(first['backbone'], first['dataset']), exits
