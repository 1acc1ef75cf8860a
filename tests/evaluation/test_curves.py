import numpy as np
import pytest
from sklearn.metrics import auc

from mecl_jax.errors import UserError
from mecl_jax.evaluation import curves, rules, thresholds
from mecl_jax.evaluation.costs import unit_costs
from mecl_jax.evaluation.curves import areas
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.rules import Rule
from tests.evaluation.predictions import make

MACS = np.array([10e6, 20e6, 30e6, 40e6])
VALIDATION, TEST = make(n=120), make('test', n=150)


def test_curve_agrees_with_a_loop_over_examples():
  policies = [
    policy
    for name in rules.RULES
    for policy in thresholds.budgeted(rules.fit_rule(name, VALIDATION), VALIDATION)[::10]
  ]
  measured = curves.curve(policies, VALIDATION, TEST)
  assert measured.policies == tuple(policies)
  for points, split in ((measured.validation, VALIDATION), (measured.test, TEST)):
    assert points.leaving.shape == (len(policies), 4)
    assert points.final_accuracy == np.mean(split.logits[:, -1].argmax(-1) == split.labels)
    for i, policy in enumerate(policies):
      right, paid, leaving = 0, 0, [0] * 4
      for logits, label, at in zip(
        split.logits, split.labels, policy.leaves_at(split.logits), strict=True
      ):
        right += logits[at].argmax() == label
        paid += MACS[at]
        leaving[at] += 1
      assert points.accuracy[i] == pytest.approx(right / len(split.labels))
      assert points.mean(unit_costs(MACS, MACS))[i] == pytest.approx(paid / len(split.labels))
      assert points.leaving[i] == pytest.approx(np.array(leaving) / len(split.labels))


def test_exchanged_splits_are_rejected():
  policy = Policy(Rule('margin'), np.zeros(3))
  with pytest.raises(UserError, match='not from the test split'):
    curves.curve([policy], TEST, TEST)
  with pytest.raises(UserError, match='this is the validation split'):
    curves.curve([policy], VALIDATION, VALIDATION)
  with pytest.raises(UserError, match='a policy of 4 exits for predictions of 3'):
    curves.curve([policy], make(exits=3), make('test', exits=3))


def test_area_covers_the_costs_all_lines_reach():
  lines = {
    'flat': (np.array([0.0, 10]), np.array([0.8, 0.8])),
    'rising': (np.array([8.0, 2, 4]), np.array([0.9, 0.5, 0.7])),  # in any order
  }
  area, common = areas(lines)
  assert common == (2, 8)
  assert area == pytest.approx({'flat': 0.8, 'rising': (2 * 0.6 + 4 * 0.8) / 6})


def test_points_of_equal_cost_count_as_one():
  lines = {'a': (np.array([1.0, 1, 3]), np.array([0.4, 0.6, 0.9])),
           'b': (np.array([0.0, 2]), np.array([0.5, 0.5]))}  # fmt: skip
  area, common = areas(lines)
  assert common == (1, 2) and area == pytest.approx({'a': 0.6, 'b': 0.5})


def test_areas_of_lines_without_a_common_range():
  line = (np.array([1.0, 3]), np.array([0.5, 0.9]))
  assert areas({'a': line, 'b': (np.array([2.0]), np.array([0.6]))}) == (
    {'a': pytest.approx(0.7), 'b': 0.6},
    (2, 2),
  )
  area, _ = areas({'a': line, 'b': (np.array([4.0]), np.array([0.6]))})
  assert np.isnan(list(area.values())).all()


def test_area_agrees_with_scikit_learn():
  rng = np.random.default_rng(0)
  for _ in range(20):
    cost, accuracy = rng.random(15), rng.random(15)
    order = np.argsort(cost)
    expected = auc(cost[order], accuracy[order]) / np.ptp(cost)
    assert areas({'a': (cost, accuracy)})[0]['a'] == pytest.approx(expected)
