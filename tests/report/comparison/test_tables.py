import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.paired import OVER_IMAGES, holm
from mecl_jax.report.comparison.curves import area_rows, curves_of
from mecl_jax.report.comparison.tables import arm_rows, difference_rows, run_rows
from tests.report.runs_to_compare import (
  EXITS,
  accuracy,
  by_name,
  chosen,
  make_run,
  seeds_of_three_arms,
)


@pytest.fixture(scope='module')
def seeds():
  return seeds_of_three_arms()


def test_runs_have_accuracy_at_every_exit(seeds):
  rows = run_rows(seeds)
  assert [(row['arm'], row['seed']) for row in rows] == list(by_name(seeds))
  for run, row in zip(seeds, rows, strict=True):
    assert [row[f'accuracy:{name}'] for name in EXITS] == [accuracy(run, name) for name in EXITS]


def test_arms_have_mean_and_deviation_over_seeds(seeds):
  rows = arm_rows(seeds)
  assert [row['exit'] for row in rows] == [*EXITS] * 3
  (row,) = chosen(rows, arm='better', exit='stage2')
  found = [accuracy(run, 'stage2') for run in seeds[4:8]]
  assert row['seeds'] == 4 and row['macs'] == 2_000_000
  assert row['accuracy'] == pytest.approx(np.mean(found))
  assert row['accuracy_sd'] == pytest.approx(np.sqrt(np.var(found) * 4 / 3))
  (row,) = chosen(rows, arm='once', exit='final')
  assert row['seeds'] == 1 and row['accuracy_sd'] is None and row['nll_sd'] is None


@pytest.mark.parametrize('metric', ['accuracy', 'nll'])
def test_only_common_seeds_are_paired(seeds, metric):
  (row,) = chosen(difference_rows(seeds), arm='better', exit='stage1', metric=metric)
  runs, measure = by_name(seeds), getattr(metrics, metric)
  ours, theirs = (
    [measure(runs[arm, s].test.logits[:, 0], runs[arm, s].test.labels) for s in range(3)]
    for arm in ('better', 'plain')
  )
  assert row['pairs'] == 3 and row['how'] == 'paired t over 3 seeds'
  assert row['difference'] == pytest.approx(np.mean(ours) - np.mean(theirs))
  assert row['p'] == pytest.approx(ttest_rel(ours, theirs).pvalue)


def test_one_common_seed_has_an_interval_over_images(seeds):
  rows = chosen(difference_rows(seeds), arm='once', metric='accuracy')
  runs = by_name(seeds)
  for row, name in zip(rows, EXITS, strict=True):
    change = accuracy(runs['once', 3], name) - accuracy(runs['plain', 3], name)
    assert row['difference'] == pytest.approx(change)
    assert row['difference_low'] < change < row['difference_high']
    # About two standard errors to either side, in 120 images of which fewer than half change.
    assert 0.05 < row['difference_high'] - row['difference_low'] < 0.3
    assert (row['pairs'], row['how'], row['p']) == (1, OVER_IMAGES, None)


def test_all_tests_of_a_metric_are_one_family(seeds):
  more = [make_run('third', seed, known=0.1) for seed in range(4)]
  rows = difference_rows([*seeds, *more])
  for metric in ('accuracy', 'nll'):
    family = chosen(rows, metric=metric)
    assert [row['p_holm'] for row in family] == holm([row['p'] for row in family])
    assert sum(row['p'] is not None for row in family) == 6


def test_equal_predictions_do_not_differ():
  plain = [make_run('plain', seed) for seed in range(3)]
  same = [dataclasses.replace(run, arm='same', directory=f'same{run.seed}') for run in plain]
  rows = difference_rows([*plain, *same])
  assert {(row['difference'], row['p'], row['p_holm']) for row in rows} == {(0, None, None)}
  assert {row['how'] for row in rows} == {'the same in all 3 seeds'}


def test_no_common_seed_has_no_row():
  runs = [make_run('plain', 0), make_run('plain', 1), make_run('other', 2)]
  assert difference_rows(runs) == []
  assert [row['pairs'] for row in area_rows(runs, curves_of(runs))] == [None, None]


def test_exits_are_compared_by_name():
  other = make_run('other', 0, exits=('stage2', 'late', 'final'))
  runs = [make_run('plain', 0), other]
  rows = chosen(difference_rows(runs), metric='accuracy')
  assert [row['exit'] for row in rows] == ['stage2', 'final']
  for row in rows:
    change = accuracy(other, row['exit']) - accuracy(runs[0], row['exit'])
    assert row['difference'] == pytest.approx(change)
  listed = run_rows(runs)
  columns = [f'accuracy:{name}' for name in ('stage1', 'stage2', 'late', 'final')]
  assert list(listed[0])[-4:] == columns
  assert listed[0]['accuracy:late'] is None and listed[1]['accuracy:stage1'] is None
