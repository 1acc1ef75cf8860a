import pytest

from mecl_jax.report.verdict import verdict
from tests.report import run_rows

TABLES = run_rows.make(3)
EXITS = TABLES['exits']  # the final exit: 64 %, 63 to 65 %


def point(**changes):
  (row,) = (row for row in TABLES['operating_points'] if row['chosen'])
  return [row | changes]


def test_rule_is_named_with_savings_in_macs_and_time():
  assert verdict(point(test_ms=7.0), EXITS) == (
    'Use early exit by entropy with budgeted thresholds for max_accuracy_drop=0.005: its test'
    ' accuracy is 61.30 %, 0.42 points below the final exit (95 % interval 0.10 to 0.70), and it'
    ' takes 43.2 % fewer MACs and 30.0 % less measured mean time per image than the final exit'
    ' (7.00 instead of 10.0 ms).'
  )


def test_unmeasured_time_is_said():
  row = {k: v for k, v in point()[0].items() if k not in ('test_ms', 'ms_saved')}
  sentence = verdict([row], EXITS)
  assert sentence.endswith(
    '43.2 % fewer MACs than the final exit; its time is not measured yet (--mode=latency measures'
    ' it).'
  )


def test_fixed_exit_and_gain_are_named():
  rows = point(
    rule='fixed', thresholds='stage2', test_drop=-0.004, test_drop_low=-0.011, test_drop_high=0.003
  )
  sentence = verdict(rows, EXITS)
  assert sentence.startswith('Use exit stage2 alone for all images for max_accuracy_drop=0.005: ')
  assert '0.40 points above the final exit (95 % interval 0.30 below to 1.10 above)' in sentence


@pytest.mark.parametrize(
  ('drop', 'expected'),
  [
    ((-0.02, -0.03, -0.01), '2.00 points above the final exit (95 % interval 1.00 to 3.00)'),
    ((0.00001, -0.01, 0.01), 'as that of the final exit (95 % interval 1.00 below to 1.00 above)'),
  ],
)
def test_interval_has_no_negative_gain(drop, expected):
  names = ('test_drop', 'test_drop_low', 'test_drop_high')
  sentence = verdict(point(**dict(zip(names, drop, strict=True))), EXITS)
  assert expected in sentence and ' -' not in sentence


def test_policy_that_costs_more_says_so():
  sentence = verdict(point(macs_saved=-0.054, test_ms=9.0, ms_saved=-0.2), EXITS)
  assert '5.4 % more MACs and 20.0 % more measured mean time' in sentence
  assert '(9.00 instead of 7.50 ms)' in sentence


def test_final_exit_alone_is_best():
  rows = point(rule='fixed', thresholds='final', test_drop=0, macs_saved=0, ms_saved=0)
  assert verdict(rows, EXITS) == (
    'Use the final exit alone: no other exit and no exit rule is better for'
    ' max_accuracy_drop=0.005. Its test accuracy is 64.00 % (95 % interval 63.00 to 65.00 %).'
  )


def test_given_policy_has_no_target():
  assert verdict(point(target=None, target_value=None), EXITS).startswith(
    'Use early exit by entropy with budgeted thresholds: its test accuracy is'
  )
