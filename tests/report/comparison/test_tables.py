import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mecl_jax.evaluation import intervals, metrics
from mecl_jax.evaluation.curves import areas
from mecl_jax.evaluation.curves import curve as measured
from mecl_jax.evaluation.paired import OVER_IMAGES, holm
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.comparison import curves as comparison_curves
from mecl_jax.report.comparison.curves import area_rows, curve_rows, curves_of
from mecl_jax.report.comparison.tables import arm_rows, difference_rows, run_rows
from tests.report.runs_to_compare import EXITS, make_run


@pytest.fixture(scope='module')
def seeds():
  """A baseline of four seeds, an arm with three of them and one more, and an arm with one."""
  plain = [make_run('plain', seed) for seed in range(4)]
  better = [make_run('better', seed, known=0.5) for seed in (2, 1, 0, 9)]
  return [*plain, *better, make_run('once', 3, known=0.2)]


def accuracy(run, exit_):
  logits = run.test.logits[:, run.exits.index(exit_)]
  return np.mean(logits.argmax(-1) == run.test.labels)


def chosen(rows, **wanted):
  return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def by_name(runs):
  return {(run.arm, run.seed): run for run in runs}


def test_runs_have_their_accuracy_at_every_exit(seeds):
  rows = run_rows(seeds)
  assert [(row['arm'], row['seed']) for row in rows] == list(by_name(seeds))
  for run, row in zip(seeds, rows, strict=True):
    assert [row[f'accuracy:{name}'] for name in EXITS] == [accuracy(run, name) for name in EXITS]


def test_arms_have_means_and_deviations_over_their_seeds(seeds):
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
def test_only_seeds_in_common_are_paired_whatever_their_order(seeds, metric):
  (row,) = chosen(difference_rows(seeds), arm='better', exit='stage1', metric=metric)
  runs, measure = by_name(seeds), getattr(metrics, metric)
  ours, theirs = (
    [measure(runs[arm, s].test.logits[:, 0], runs[arm, s].test.labels) for s in range(3)]
    for arm in ('better', 'plain')
  )
  assert row['pairs'] == 3 and row['how'] == 'paired t over 3 seeds'
  assert row['difference'] == pytest.approx(np.mean(ours) - np.mean(theirs))
  assert row['p'] == pytest.approx(ttest_rel(ours, theirs).pvalue)


def test_one_seed_in_common_has_an_interval_over_the_images(seeds):
  rows = chosen(difference_rows(seeds), arm='once', metric='accuracy')
  runs = by_name(seeds)
  for row, name in zip(rows, EXITS, strict=True):
    change = accuracy(runs['once', 3], name) - accuracy(runs['plain', 3], name)
    assert row['difference'] == pytest.approx(change)
    assert row['difference_low'] < change < row['difference_high']
    # About two standard errors to either side, in 120 images of which fewer than half change.
    assert 0.05 < row['difference_high'] - row['difference_low'] < 0.3
    assert (row['pairs'], row['how'], row['p']) == (1, OVER_IMAGES, None)


def test_a_family_of_holm_is_one_metric_over_all_arms_and_exits(seeds):
  more = [make_run('third', seed, known=0.1) for seed in range(4)]
  rows = difference_rows([*seeds, *more])
  for metric in ('accuracy', 'nll'):
    family = chosen(rows, metric=metric)
    assert [row['p_holm'] for row in family] == holm([row['p'] for row in family])
    assert sum(row['p'] is not None for row in family) == 6


def test_runs_that_say_the_same_do_not_differ():
  plain = [make_run('plain', seed) for seed in range(3)]
  same = [dataclasses.replace(run, arm='same', directory=f'same{run.seed}') for run in plain]
  rows = difference_rows([*plain, *same])
  assert {(row['difference'], row['p'], row['p_holm']) for row in rows} == {(0, None, None)}
  assert {row['how'] for row in rows} == {'the same in all 3 seeds'}


def test_without_a_seed_in_common_there_is_no_row():
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


def test_curves_are_those_of_the_runs_own_thresholds(seeds):
  run = seeds[0]
  rows = curve_rows(curves_of([run]))
  assert [row['index'] for row in rows] == list(range(39))
  (_, curve), *_ = curves_of([run])
  sure = np.exp(metrics.log_softmax(run.test.logits)).max(-1)
  for row, policy in zip(rows, curve.policies, strict=True):
    leave = [
      next((k for k in range(2) if of_image[k] >= policy.thresholds[k]), 2) for of_image in sure
    ]
    right = run.test.right()[np.arange(len(leave)), leave]
    assert row['test_accuracy'] == pytest.approx(right.mean())
    assert row['test_macs'] == pytest.approx(run.macs[leave].mean())


def test_areas_are_paired_like_exits(seeds):
  curves = curves_of(seeds)
  rows = area_rows(seeds, curves)
  lines = {run.directory: (c.test.mean(run.macs), c.test.accuracy) for run, c in curves}
  found, (low, high) = areas(lines)
  assert [(row['arm'], row['pairs']) for row in rows] == [
    ('plain', None),
    ('better', 3),
    ('once', 1),
  ]
  assert {(row['low_macs'], row['high_macs']) for row in rows} == {(low, high)}
  ours, theirs = ([found[f'runs/{arm}-{s}'] for s in range(3)] for arm in ('better', 'plain'))
  assert rows[1]['difference'] == pytest.approx(np.mean(ours) - np.mean(theirs))
  assert rows[1]['p'] == rows[1]['p_holm'] == pytest.approx(ttest_rel(ours, theirs).pvalue)
  assert rows[2]['difference'] == pytest.approx(found['runs/once-3'] - found['runs/plain-3'])
  assert rows[2]['difference_low'] < rows[2]['difference'] < rows[2]['difference_high']


def test_a_resample_moves_accuracy_and_macs_of_every_curve(monkeypatch):
  runs = [make_run('plain', 0, n=40), make_run('other', 0, known=0.5, n=40)]
  asked = []

  def bootstrap(*given):
    asked.append(given)
    return intervals.bootstrap(*given)

  monkeypatch.setattr(comparison_curves, 'bootstrap', bootstrap)
  area_rows(runs, curves_of(runs))
  ((statistic, images),) = asked
  copies = np.random.default_rng(0).multinomial(images, np.ones(images) / images, size=5)
  (moved,) = statistic(copies.astype(float)).T
  for of_resample, change in zip(copies, moved, strict=True):
    lines = {}
    for run, curve in curves_of(runs):
      logits, labels = (of.repeat(of_resample, axis=0) for of in (run.test.logits, run.test.labels))
      again = measured(curve.policies, run.validation, Predicted('test', logits, labels))
      lines[run.arm] = again.test.mean(run.macs), again.test.accuracy
    found, _ = areas(lines)
    assert change == pytest.approx(found['other'] - found['plain'])


def test_curves_that_share_no_macs_have_no_areas():
  runs = [make_run('plain', 0), make_run('huge', 0, macs=10**9)]
  assert area_rows(runs, curves_of(runs)) == []


def test_a_run_without_validation_has_no_curve_and_takes_no_part_in_areas():
  blind = dataclasses.replace(make_run('plain', 0), validation=None)
  runs = [blind, make_run('plain', 1), make_run('other', 0), make_run('other', 1, known=0.3)]
  curves = curves_of(runs)
  assert {row['directory'] for row in curve_rows(curves)} == {run.directory for run in runs[1:]}
  rows = area_rows(runs, curves)
  assert [(row['arm'], row['seeds'], row['pairs']) for row in rows] == [
    ('plain', 1, None),
    ('other', 2, 1),
  ]
  assert area_rows([blind], curves_of([blind])) == []
  assert len(difference_rows(runs)) == 2 * len(EXITS)


def test_a_network_without_early_exits_is_a_point():
  runs = [make_run('plain', 0), make_run('bare', 0, exits=('final',), macs=2_000_000)]
  assert len({row['test_macs'] for row in curve_rows(curves_of(runs[1:]))}) == 1
  rows = area_rows(runs, curves_of(runs))
  assert rows[1]['area'] == pytest.approx(accuracy(runs[1], 'final'))
  assert [row['exit'] for row in difference_rows(runs)] == ['final', 'final']
