"""Differences with an interval over seeds and test images together, by a two-way bootstrap."""

from collections.abc import Iterator, Mapping, Sequence
import itertools
from typing import Any
import zlib

import numpy as np
import pandas as pd

from experiments.paired.analysis import final_runs
from experiments.paired.study import BASELINE
from experiments.paired.table import Row, places, records
from mecl_jax.evaluation.intervals import LEVEL

RESAMPLES, BLOCK = 2000, 100  # resamples, and how many of them are in memory at once
ALL = 'all'  # settings or budgets, whose mean is compared
COLUMNS = ['setting', 'budget', 'arm', 'against', 'measure', 'seeds', 'difference', 'low', 'high']
Key = tuple[str, int, str, int]  # setting, budget, arm, seed
Right = Mapping[Key, np.ndarray]  # which test images a run has right, bool [exits, images]


def key_of(run: Mapping[str, Any]) -> Key:
  """Returns the key of a row of the table."""
  return run['setting'], run['budget'], run['arm'], run['seed']


def over_seeds_and_images(
  table: pd.DataFrame, right: Right, pairs: Sequence[tuple[str, str]] = ()
) -> pd.DataFrame:
  """Compares arms with intervals that cover new seeds and new test images.

  Seeds and images are resampled independently, with replacement. In a resample all arms have the
  same ones, and so have settings of equal data set.

  Args:
    table: of one study.
    right: of its runs. Runs that are missing are left out.
    pairs: arms to compare, besides every arm with the baseline.

  Returns:
    a row per `setting`, `budget`, pair `arm` and `against`, and `measure` (an exit); 'all' is the
    mean over settings or budgets that have both arms. `seeds` counts those with a pair in each of
    them, two or more; `difference` is in points, `low` and `high` are its 95 % interval of
    percentiles. It is wide where images change differently in every seed, as these changes count
    for the seeds and for the images, and too narrow where nothing but few seeds varies.

  References:
    Owen, "The Pigeonhole Bootstrap", Annals of Applied Statistics 1(2), 2007.
  """
  runs = [row for row in records(final_runs(table)) if key_of(row) in right]
  shares = _resampled(runs, right)
  arms, settings, budgets = (
    dict.fromkeys(row[name] for row in runs) for name in ('arm', 'setting', 'budget')
  )
  found = []
  for arm, against in dict.fromkeys([*((arm, BASELINE) for arm in arms), *pairs]):
    changes = _changes(shares, arm, against)
    for setting, budget in itertools.product((*settings, ALL), (*budgets, ALL)):
      group = [
        of_seeds
        for cell, of_seeds in changes.items()
        if setting in (cell[0], ALL) and budget in (cell[1], ALL)
      ]
      place = {'setting': setting, 'budget': budget, 'arm': arm, 'against': against}
      found += [place | effect for effect in _effects(group)]
  return pd.DataFrame(found, columns=COLUMNS)


def _resampled(runs: Sequence[Row], right: Right) -> dict[Key, np.ndarray]:
  """Returns the share of images that runs have right, float [1 + RESAMPLES, exits] each.

  The first share is of the images as they are. Sums are of whole numbers, equal on every machine.
  """
  of_images: dict[tuple[str, int], list[Key]] = {}
  for row in runs:
    key = key_of(row)
    of_images.setdefault((row['dataset'], right[key].shape[1]), []).append(key)
  found: dict[Key, np.ndarray] = {}
  for (dataset, images), keys in of_images.items():
    stacked = np.concatenate([right[key] for key in keys]).astype(np.float32).T
    rng = np.random.default_rng([images, zlib.crc32(dataset.encode())])
    sums = [stacked.sum(axis=0, keepdims=True)]
    for _ in range(RESAMPLES // BLOCK):
      drawn = rng.integers(images, size=(BLOCK, images)) + images * np.arange(BLOCK)[:, None]
      counts = np.bincount(drawn.ravel(), minlength=BLOCK * images).reshape(BLOCK, images)
      sums.append(counts.astype(np.float32) @ stacked)
    ends = np.cumsum([len(right[key]) for key in keys])[:-1]
    shares = np.split(np.concatenate(sums).astype(float) / images, ends, axis=1)
    found |= dict(zip(keys, shares, strict=True))
  return found


def _changes(
  shares: Mapping[Key, np.ndarray], arm: str, against: str
) -> dict[tuple[str, int], dict[int, np.ndarray]]:
  """Returns by setting and budget, and then by seed, the differences of two arms."""
  found: dict[tuple[str, int], dict[int, np.ndarray]] = {}
  for (setting, budget, of_arm, seed), share in shares.items():
    other = setting, budget, against, seed
    if of_arm == arm != against and other in shares:
      found.setdefault((setting, budget), {})[seed] = share - shares[other]
  return found


def _effects(group: Sequence[Mapping[int, np.ndarray]]) -> Iterator[Row]:
  """Yields the columns from `measure` on, for each exit that the two arms do not share.

  Args:
    group: for each setting and budget the differences by seed, float [1 + RESAMPLES, exits] each.
  """
  seeds = sorted(set.intersection(*map(set, group))) if group else []
  if len(seeds) < 2 or len({change.shape for cell in group for change in cell.values()}) > 1:
    return
  changes = np.mean([[cell[seed] for seed in seeds] for cell in group], axis=0)
  rng, even = np.random.default_rng(len(seeds)), np.full(len(seeds), 1 / len(seeds))
  weights = np.stack([even, *rng.multinomial(len(seeds), even, RESAMPLES) / len(seeds)])
  means = 100 * np.einsum('bs,sbe->be', weights, changes)
  ends = np.quantile(means[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
  for place, column in enumerate(places(means.shape[1] - 1)):
    if np.any(changes[..., place]):
      numbers = {'difference': means[0, place], 'low': ends[0, place], 'high': ends[1, place]}
      rounded = {name: round(float(value), 6) + 0.0 for name, value in numbers.items()}
      yield {'measure': column.replace('exit', 'exit '), 'seeds': len(seeds), **rounded}
