"""Tables of accuracy against mean MACs of several runs, under budgeted batch classification."""

from collections.abc import Sequence

import numpy as np

from mecl_jax.evaluation.costs import UnitCosts, unit_costs
from mecl_jax.evaluation.curves import Curve, areas
from mecl_jax.evaluation.curves import curve as measured
from mecl_jax.evaluation.intervals import Interval, bootstrap
from mecl_jax.evaluation.paired import Effect, holm, over_images, over_seeds
from mecl_jax.evaluation.policies import first_reached
from mecl_jax.evaluation.rules import Rule, confidence_of
from mecl_jax.evaluation.thresholds import budgeted
from mecl_jax.report.comparison.tables import ComparedRun, Pairs, by_arm, paired, spread
from mecl_jax.report.rows import Row, Rows

RULE = Rule('max_probability')

Curves = Sequence[tuple[ComparedRun, Curve]]


def curves_of(runs: Sequence[ComparedRun]) -> Curves:
  """Returns the runs with validation predictions and their curves.

  Thresholds come from the validation split of each run.

  References:
    Huang et al., Multi-Scale Dense Networks for Resource Efficient Image Classification, ICLR 2018.
  """
  return [
    (run, measured(budgeted(RULE, run.validation), run.validation, run.test))
    for run in runs
    if run.validation
  ]


def curve_rows(curves: Curves) -> Rows:
  """Returns a row per run and policy, from cheap to expensive; MACs are means per image."""
  rows: Rows = []
  for run, curve in curves:
    of_run: Row = {'arm': run.arm, 'seed': run.seed, 'directory': run.directory}
    columns = {
      'validation_accuracy': curve.validation.accuracy,
      'validation_macs': curve.validation.mean(_macs(run)),
      'test_accuracy': curve.test.accuracy,
      'test_macs': curve.test.mean(_macs(run)),
    }
    for index in range(len(curve.policies)):
      values = {name: float(column[index]) for name, column in columns.items()}
      rows.append({**of_run, 'index': index, **values})
  return rows


def area_rows(runs: Sequence[ComparedRun], curves: Curves) -> Rows:
  """Returns a row per arm: its mean accuracy over a range of MACs, and the difference in it.

  The range is what all curves cover. The difference is that from the baseline.

  Args:
    runs: all runs; the first belongs to the baseline.
    curves: returned by `curves_of`.

  Returns:
    rows; none if the curves have no range of MACs in common.
  """
  lines = {run.directory: (c.test.mean(_macs(run)), c.test.accuracy) for run, c in curves}
  found, (low, high) = areas(lines) if lines else ({}, (np.inf, 0.0))
  if low > high:
    return []
  effects = _effects(runs, curves, found)
  corrected = dict(zip(effects, holm([effect.p for effect in effects.values()]), strict=True))
  none = dict.fromkeys(Effect._fields)
  rows: Rows = []
  for arm, of_seed in by_arm([run for run, _ in curves]).items():
    row: Row = {'arm': arm, 'seeds': len(of_seed)}
    row |= spread('area', [found[run.directory] for run in of_seed.values()])
    row |= {'low_macs': low, 'high_macs': high}
    row |= effects[arm]._asdict() if arm in effects else none
    rows.append(row | {'p_holm': corrected.get(arm)})
  return rows


def _macs(run: ComparedRun) -> UnitCosts:
  return unit_costs(run.macs, run.dynamic_macs)


def _effects(
  runs: Sequence[ComparedRun], curves: Curves, found: dict[str, float]
) -> dict[str, Effect]:
  """Returns the effect of each arm: over its seeds, or over images if it has one pair."""
  pairs_of = {
    arm: [pair for pair in pairs if all(run.directory in found for run in pair)]
    for arm, pairs in paired(runs)
  }
  only = {arm: pairs[0] for arm, pairs in pairs_of.items() if len(pairs) == 1}
  effects = {
    arm: over_seeds(*np.array([[found[run.directory] for run in pair] for pair in pairs]).T)
    for arm, pairs in pairs_of.items()
    if len(pairs) > 1
  }
  if only:
    interval = _interval(curves, list(only.values()))
    effects |= dict(zip(only, over_images(interval), strict=True))
  return effects


def _interval(curves: Curves, pairs: Pairs) -> Interval:
  """Returns the interval of the difference in area of each pair, [pairs].

  A resample of the images changes the accuracy and the mean MACs of every curve, and thereby the
  range of MACs that all curves cover.
  """
  per_image = {run.directory: _of_images(run, curve) for run, curve in curves}
  images = len(curves[0][0].test.labels)

  def statistic(weights: np.ndarray) -> np.ndarray:
    share = weights / images
    moved = {name: (share @ macs, share @ right) for name, (macs, right) in per_image.items()}
    drawn = []
    for k in range(len(weights)):
      found, _ = areas({name: (macs[k], right[k]) for name, (macs, right) in moved.items()})
      drawn.append([found[ours.directory] - found[theirs.directory] for ours, theirs in pairs])
    return np.array(drawn)

  return bootstrap(statistic, images)


def _of_images(run: ComparedRun, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
  """Returns MACs and correctness of each test image, float64 [N, policies] each."""
  confidence, right = confidence_of(run.test, RULE), run.test.right().astype(np.float64)
  leaves = [first_reached(confidence, policy.thresholds) for policy in curve.policies]
  exits = np.stack(leaves, axis=1)
  return run.dynamic_macs[exits].astype(np.float64), np.take_along_axis(right, exits, axis=1)
