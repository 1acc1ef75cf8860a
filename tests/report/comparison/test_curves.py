import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mecl_jax.evaluation import curves as curves_lib
from mecl_jax.evaluation import intervals, metrics
from mecl_jax.evaluation.costs import unit_costs
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.comparison.curves import area_rows, curve_rows, curves_of
from mecl_jax.report.comparison.tables import difference_rows
from tests.report.runs_to_compare import EXITS, accuracy, make_run, seeds_of_three_arms


@pytest.fixture(scope='module')
def seeds():
  return seeds_of_three_arms()


def macs_of(run):
  return unit_costs(run.macs, run.dynamic_macs)


def test_curves_use_the_thresholds_of_their_run(seeds):
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


def test_areas_are_paired_by_seed(seeds):
  curves = curves_of(seeds)
  rows = area_rows(seeds, curves)
  lines = {run.directory: (c.test.mean(macs_of(run)), c.test.accuracy) for run, c in curves}
  found, (low, high) = curves_lib.areas(lines)
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


def test_resampling_changes_accuracy_and_macs(monkeypatch):
  runs = [make_run('plain', 0, n=40), make_run('other', 0, known=0.5, n=40)]
  calls = []

  def bootstrap(*given):
    calls.append(given)
    return intervals.bootstrap(*given)

  monkeypatch.setattr('mecl_jax.report.comparison.curves.bootstrap', bootstrap)
  area_rows(runs, curves_of(runs))
  ((statistic, images),) = calls
  copies = np.random.default_rng(0).multinomial(images, np.ones(images) / images, size=5)
  (moved,) = statistic(copies.astype(float)).T
  for of_resample, change in zip(copies, moved, strict=True):
    lines = {}
    for run, curve in curves_of(runs):
      logits, labels = (of.repeat(of_resample, axis=0) for of in (run.test.logits, run.test.labels))
      again = curves_lib.curve(curve.policies, run.validation, Predicted('test', logits, labels))
      lines[run.arm] = again.test.mean(macs_of(run)), again.test.accuracy
    found, _ = curves_lib.areas(lines)
    assert change == pytest.approx(found['other'] - found['plain'])


def test_curves_without_common_macs_have_no_areas():
  runs = [make_run('plain', 0), make_run('huge', 0, macs=10**9)]
  assert area_rows(runs, curves_of(runs)) == []


def test_run_without_validation_has_no_curve():
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
