import numpy as np
import pytest

from mecl_jax.evaluation.choice import choose_policy, given_policy
from mecl_jax.evaluation.costs import Costs, UnitCosts, unit_costs
from mecl_jax.evaluation.intervals import proportion_difference_interval
from mecl_jax.evaluation.operating_points import Target
from mecl_jax.evaluation.policies import Policy, fixed
from mecl_jax.evaluation.rules import Rule
from mecl_jax.report.tables.dynamic import dynamic_tables, operating_points_rows
from tests.evaluation.predictions import make

NAMES = ['stage1', 'stage2', 'final']
VALIDATION, TEST = make(n=120, exits=3), make('test', n=150, exits=3)
MACS = np.array([10, 26, 40])
BY_MACS = Costs(unit_costs((10, 23, 32), MACS))
TIMED = Costs(BY_MACS.macs, unit_costs((0.8, 2.5, 3.5), (1.0, 3.0, 4.0)))
TEMPERATURES = np.array([0.5, 1.0, 8.0])


@pytest.fixture(scope='module')
def choice():
  return choose_policy(VALIDATION, TEST, TIMED, Target('max_accuracy_drop', 0.05))


@pytest.fixture(scope='module')
def tables(choice):
  return dynamic_tables(choice, VALIDATION, TEST, TEMPERATURES, TIMED, NAMES)


def accuracy_and_cost(policy, split, costs):
  at = policy.leaves_at(split.logits)
  if isinstance(costs, UnitCosts):
    costs = costs.of(policy.rule.name)
  return split.right()[np.arange(len(at)), at].mean(), costs[at].mean()


def test_rows_hold_plain_values_and_equal_columns(tables):
  assert [*tables] == ['curve', 'areas', 'operating_points']
  for name, rows in tables.items():
    assert len({tuple(row) for row in rows}) == 1, name
    assert {type(v) for row in rows for v in row.values()} <= {str, int, float, bool}, name


def test_columns_have_fixed_names(tables):
  leave = [f'leave:{name}' for name in NAMES]
  assert [*tables['curve'][0]] == [
    *('rule', 'thresholds', 'index', 'calibrated'),
    *('validation_accuracy', 'validation_macs', 'test_accuracy', 'test_macs'),
    *('validation_ms', 'test_ms', *leave),
  ]
  assert [*tables['operating_points'][0]] == [
    *('rule', 'thresholds', 'chosen', 'target', 'target_value', 'validation_accuracy'),
    *('test_accuracy', 'test_drop', 'test_drop_low', 'test_drop_high'),
    *('validation_macs', 'test_macs', 'macs_saved', 'test_ms', 'ms_saved'),
    *('threshold:stage1', 'threshold:stage2', *leave),
  ]
  assert [*tables['areas'][0]] == [
    *('rule', 'thresholds', 'calibrated', 'area', 'low_macs', 'high_macs')
  ]


def test_without_latencies_there_are_no_times():
  choice = choose_policy(VALIDATION, TEST, BY_MACS, Target('target_macs', 25))
  tables = dynamic_tables(choice, VALIDATION, TEST, TEMPERATURES, BY_MACS, NAMES)
  assert not any('ms' in column.split('_') for rows in tables.values() for column in rows[0])
  assert {row['target'] for row in tables['operating_points']} == {'target_macs'}


def test_curve_has_accuracy_and_cost_of_every_policy(choice, tables):
  rows = [row for row in tables['curve'] if not row['calibrated']]
  policies = [policy for line in choice.lines for policy in line.curve.policies]
  assert len(rows) == len(policies)
  for row, policy in list(zip(rows, policies, strict=True))[::10]:
    assert row['rule'] == policy.rule.name
    assert policy.fixed_exit is None or row['thresholds'] == NAMES[policy.fixed_exit]
    for name, split in (('validation', VALIDATION), ('test', TEST)):
      accuracy, macs = accuracy_and_cost(policy, split, BY_MACS.macs)
      assert row[f'{name}_accuracy'] == pytest.approx(accuracy)
      assert row[f'{name}_macs'] == pytest.approx(macs)
      assert row[f'{name}_ms'] == pytest.approx(accuracy_and_cost(policy, split, TIMED.ms)[1])
    leaving = np.bincount(policy.leaves_at(TEST.logits), minlength=3) / 150
    assert [row[f'leave:{name}'] for name in NAMES] == pytest.approx(leaving)


def test_calibration_does_not_change_patience(tables):
  def points(rule, way, calibrated):
    return [
      (row['test_accuracy'], row['test_macs'])
      for row in tables['curve']
      if (row['rule'], row['thresholds'], row['calibrated']) == (rule, way, calibrated)
    ]

  assert points('patience', 'shared', True) == points('patience', 'shared', False)
  before, after = (points('max_probability', 'shared', on) for on in (False, True))
  assert before != after


def test_areas_cover_the_macs_that_all_lines_share(tables):
  areas = tables['areas']
  keys = {(row['rule'], row['thresholds'], row['calibrated']) for row in areas}
  assert len(keys) == len(areas) == 2 * (5 + 4)
  assert {way for _, way, _ in keys} == {'budgeted', 'shared'}
  lines = {key: [] for key in keys}
  for row in tables['curve']:
    key = (row['rule'], row['thresholds'], row['calibrated'])
    if key in lines:
      lines[key].append((row['test_macs'], row['test_accuracy']))
  low = max(min(line)[0] for line in lines.values())
  high = min(max(line)[0] for line in lines.values())
  for row in areas:
    assert (row['low_macs'], row['high_macs']) == (low, high)
    cost, accuracy = np.array(lines[row['rule'], row['thresholds'], row['calibrated']]).T
    fine = np.linspace(low, high, 4001)
    at = np.unique(cost)
    mean = [accuracy[cost == value].mean() for value in at]
    assert row['area'] == pytest.approx(np.interp(fine, at, mean).mean(), abs=2e-4)


def test_operating_points_have_costs_and_savings(choice, tables):
  rows = tables['operating_points']
  assert sum(row['chosen'] for row in rows) == 1
  right = TEST.right()
  for row, option in zip(rows, choice.options, strict=True):
    policy = option.point.policy
    assert row['chosen'] == (option is choice.chosen)
    assert (row['target'], row['target_value']) == ('max_accuracy_drop', 0.05)
    accuracy, macs = accuracy_and_cost(policy, TEST, BY_MACS.macs)
    assert row['test_accuracy'] == pytest.approx(accuracy)
    assert row['test_drop'] == pytest.approx(right[:, -1].mean() - accuracy)
    achieved = right[np.arange(150), policy.leaves_at(TEST.logits)]
    paired = proportion_difference_interval(right[:, -1], achieved)
    if policy.fixed_exit == 2:  # the final exit does not differ from itself
      assert row['test_drop_low'] == row['test_drop'] == row['test_drop_high'] == 0
    else:
      assert row['test_drop_low'] == pytest.approx(paired.low)
      assert row['test_drop_high'] == pytest.approx(paired.high)
    assert row['test_macs'] == pytest.approx(macs)
    assert row['validation_macs'] == pytest.approx(
      accuracy_and_cost(policy, VALIDATION, BY_MACS.macs)[1]
    )
    assert row['macs_saved'] == pytest.approx(1 - macs / 32)
    assert row['ms_saved'] == pytest.approx(1 - row['test_ms'] / 3.5)
    assert [row['threshold:stage1'], row['threshold:stage2']] == policy.thresholds.tolist()
    assert sum(row[f'leave:{name}'] for name in NAMES) == pytest.approx(1)


def test_fixed_exits_are_rows_of_curve_and_operating_points(tables):
  fixed_rows = [row for row in tables['curve'] if row['rule'] == 'fixed']
  assert [row['thresholds'] for row in fixed_rows] == NAMES
  assert [row['test_macs'] for row in fixed_rows] == [10, 23, 32]  # without any other head
  assert [row['test_ms'] for row in fixed_rows] == [0.8, 2.5, 3.5]
  (final,) = (row for row in tables['operating_points'] if row['thresholds'] == 'final')
  assert (final['rule'], final['macs_saved'], final['ms_saved']) == ('fixed', 0, 0)


def test_given_fixed_exit_is_named():
  given = given_policy(fixed(1, 3), VALIDATION, TEST, BY_MACS)
  (row,) = operating_points_rows(given, TEST, BY_MACS, NAMES)
  assert (row['rule'], row['thresholds'], row['test_macs']) == ('fixed', 'stage2', 23)


def test_a_given_policy_is_the_only_row():
  policy = Policy(Rule('margin'), np.array([np.inf, 0.5]))
  given = given_policy(policy, VALIDATION, TEST, BY_MACS)
  (row,) = operating_points_rows(given, TEST, BY_MACS, NAMES)
  assert (row['thresholds'], row['chosen'], row['target'], row['target_value']) == (
    *('given', True, None, None),
  )
  assert row['threshold:stage1'] == np.inf and row['leave:stage1'] == 0
  assert row['macs_saved'] == pytest.approx(
    1 - accuracy_and_cost(policy, TEST, BY_MACS.macs)[1] / 32
  )
