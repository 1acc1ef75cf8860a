import numpy as np
import pandas as pd
import pytest

from experiments.paired import images
from experiments.paired.analysis import differences
from experiments.paired.table import records
from tests.experiments.test_analysis import table_of
from tests.experiments.test_table import make_run

SETTINGS = {'one': 'cifar10', 'other': 'cifar10', 'third': 'cifar100'}


def study(changes, *, count=400, shared=0.0, seeds=8, settings=('one',), budgets=(100,)):
  """Returns rows and right images of two arms; `changes` are those of the second at exit 1.

  Args:
    changes: float [seeds], the shares of the images that only the second arm has right.
    shared: share of the images that are the changed ones in every seed.
  """
  rng, rows, right = np.random.default_rng(1), [], {}
  for setting in settings:
    for budget in budgets:
      for seed in range(seeds):
        base = rng.random((2, count)) < 0.6
        other = base.copy()
        other[0] |= np.arange(count) < round(count * shared)
        other[0, rng.random(count) < changes[seed]] = True
        for arm, bits in (('standard', base), ('ours', other)):
          row = make_run(arm, seed, *bits.mean(axis=1)[:1].tolist(), final=float(bits[1].mean()))
          row |= {'setting': setting, 'budget': budget, 'dataset': SETTINGS[setting]}
          rows.append(row)
          right[images.key_of(row)] = bits
  return table_of(rows), right


def compared(*args, **which):
  found = records(images.over_seeds_and_images(*args))
  (row,) = (r for r in found if all(r[name] == value for name, value in which.items()))
  return row


def test_interval_has_the_variance_of_seeds_and_images():
  """Compares with the textbook: seeds and images as crossed random effects."""
  table, right = study(np.full(8, 0.3), count=2000)
  row = compared(table, right, setting='one', budget=100)
  change = np.stack([
    right['one', 100, 'ours', seed][0].astype(float) - right['one', 100, 'standard', seed][0]
    for seed in range(8)
  ])  # fmt: skip
  assert row['difference'] == pytest.approx(100 * change.mean(), abs=1e-6)
  # The variance of the pigeonhole bootstrap: rows, columns, and each with the interaction.
  grand, size = change.mean(), change.size
  of_seeds = ((change.mean(axis=1) - grand) ** 2).sum() / 8**2
  of_images = ((change.mean(axis=0) - grand) ** 2).sum() / 2000**2
  both = ((change - grand) ** 2).sum() / size**2
  wide = 100 * (of_seeds + of_images + both) ** 0.5
  assert row['high'] - row['low'] == pytest.approx(2 * 1.96 * wide, rel=0.1)


def test_interval_over_images_is_wider_than_over_equal_seeds():
  table, right = study(np.zeros(8), shared=0.1)
  row = compared(table, right, setting='one', budget=100)
  assert row['low'] < row['difference'] - 0.5 and row['high'] > row['difference'] + 0.5
  assert (row['seeds'], row['measure']) == (8, 'exit 1'), 'the final exit is the same'


def test_difference_and_seeds_are_those_of_the_t_test():
  changes = np.array([0.1, 0.12, 0.08, 0.2, 0.13, 0.07, 0.16, 0.11])
  table, right = study(changes, count=2000)
  row = compared(table, right, setting='one', budget=100)
  (t_row,) = (r for r in records(differences(table)) if r['measure'] == 'exit 1')
  assert row['difference'] == pytest.approx(t_row['difference'], abs=1e-6)
  assert (row['seeds'], row['arm'], row['against']) == (8, 'ours', 'standard')
  pooled = compared(table, right, setting='all', budget='all')
  assert pooled == row | {'setting': 'all', 'budget': 'all'}


def test_mean_over_settings_and_budgets_has_its_own_interval():
  table, right = study(np.full(8, 0.3), settings=SETTINGS, budgets=(100, 200))
  found = images.over_seeds_and_images(table, right)
  single = found[(found['setting'] != 'all') & (found['budget'] != 'all')]
  (mean,) = records(found[(found['setting'] == 'all') & (found['budget'] == 'all')])
  assert len(single) == 6 and len(found) == 6 + 3 + 2 + 1
  assert mean['difference'] == pytest.approx(single['difference'].mean())
  narrow = (single['high'] - single['low']).mean()
  assert narrow / 3 < mean['high'] - mean['low'] < narrow / 1.5


def test_equal_inputs_give_equal_intervals():
  table, right = study(np.full(8, 0.3))
  first = images.over_seeds_and_images(table, right)
  pd.testing.assert_frame_equal(first, images.over_seeds_and_images(table[::-1], right))


def test_only_runs_with_files_count():
  table, right = study(np.full(8, 0.3))
  for seed in range(5):
    del right['one', 100, 'ours', seed]
  assert compared(table, right, setting='one', budget=100)['seeds'] == 3
  for seed in (5, 6):
    del right['one', 100, 'standard', seed]
  assert images.over_seeds_and_images(table, right).empty
  assert images.over_seeds_and_images(table, {}).empty
