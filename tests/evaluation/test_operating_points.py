import jax
import numpy as np
import pytest
from sklearn.metrics import auc

from mecl_jax.errors import UserError
from mecl_jax.evaluation import operating_points, rules, thresholds
from mecl_jax.evaluation.operating_points import Curve, Points, areas, dynamic_macs, operating_point
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.models import ExitCost, count_macs, exit_costs
from tests.evaluation.predictions import make
from tests.models.networks import build

MACS = np.array([10e6, 20e6, 30e6, 40e6])
VALIDATION, TEST = make(n=120), make('test', n=150)


def exit_(head, macs, head_macs):
  return ExitCost('name', 'stage', head, macs, 1, head_macs, 1)


def test_heads_that_were_asked_on_the_way_are_paid_for():
  # Stages of 100, 200 and 300; heads of 5, 7 and 9.
  costs = [exit_('conv', 105, 5), exit_('conv', 307, 7), exit_('linear', 609, 9)]
  assert dynamic_macs(costs).tolist() == [105, 300 + 5 + 7, 600 + 5 + 7 + 9]


def test_what_a_cascade_sees_is_paid_for_once():
  # The same heads, of which the second and third hold those before them; the last sees none.
  costs = [
    exit_('conv', 105, 5),
    exit_('cascade_conv', 312, 12),
    exit_('cascade_mlp', 621, 21),
    exit_('linear', 1011, 11),
  ]
  assert dynamic_macs(costs).tolist() == [105, 312, 621, 1000 + 21 + 11]


@pytest.mark.parametrize('head', ['conv', 'cascade_conv'])
def test_macs_of_the_last_exit_are_those_of_the_whole_network(head):
  model = build(exits=('stem', 'stage1=linear', 'stage2'), head=head)
  macs = dynamic_macs(exit_costs(model, (8, 8, 3)))
  image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.uint8)
  for k in range(1, 5):
    names = model.exit_names[:k]
    assert macs[k - 1] == count_macs(lambda image, names=names: model(image, names), image)


def test_a_curve_agrees_with_a_loop_over_the_examples():
  policies = [
    policy
    for name in rules.RULES
    for policy in thresholds.budgeted(rules.fit_rule(name, VALIDATION), VALIDATION)[::10]
  ]
  curve = operating_points.curve(policies, VALIDATION, TEST)
  assert curve.policies == tuple(policies)
  for points, split in ((curve.validation, VALIDATION), (curve.test, TEST)):
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
      assert points.mean(MACS)[i] == pytest.approx(paid / len(split.labels))
      assert points.leaving[i] == pytest.approx(np.array(leaving) / len(split.labels))


def test_splits_in_the_wrong_places_are_refused():
  policy = Policy(Rule('margin'), np.zeros(3))
  with pytest.raises(UserError, match='not from the test split'):
    operating_points.curve([policy], TEST, TEST)
  with pytest.raises(UserError, match='this is the validation split'):
    operating_points.curve([policy], VALIDATION, VALIDATION)
  with pytest.raises(UserError, match='a policy of 4 exits for predictions of 3'):
    operating_points.curve([policy], make(exits=3), make('test', exits=3))


def points_at(*shares_and_accuracy):
  leaving = np.array([[1 - share, share] for share, _ in shares_and_accuracy])
  accuracy = np.array([accuracy for _, accuracy in shares_and_accuracy])
  return Points(accuracy, leaving, 0.9)


# Costs 10 and 110: mean costs of 10, 35, 60, 60 and 110.
COSTS = np.array([10.0, 110.0])
PLACED = Curve(
  tuple(Policy(Rule('margin'), np.array([t])) for t in (0.1, 0.2, 0.3, 0.35, 0.4)),
  points_at((0, 0.7), (0.25, 0.9), (0.5, 0.895), (0.5, 0.899), (1, 0.9)),
  points_at((0.01, 0.69), (0.2, 0.85), (0.52, 0.92), (0.5, 0.91), (1, 0.89)),
)


@pytest.mark.parametrize(
  ('wish', 'value', 'index'),
  [
    ('target_macs', 10, 0),
    ('target_macs', 34.9, 0),
    ('target_macs', 35, 1),
    ('target_macs', 1000, 1),  # two are as accurate: the cheaper
    ('target_latency_ms', 34, 0),
    ('target_latency_ms', 60, 1),
    ('max_accuracy_drop', 0, 1),
    ('max_accuracy_drop', 0.005, 1),
    ('max_accuracy_drop', 0.2, 0),
  ],
)
def test_operating_points_by_hand(wish, value, index):
  point = operating_point(PLACED, COSTS, wish, value)
  assert point.index == index and point.policy is PLACED.policies[index]
  assert point.validation_accuracy == PLACED.validation.accuracy[index]
  assert point.test_accuracy == PLACED.test.accuracy[index]
  assert point.validation_cost == pytest.approx(10 + 100 * PLACED.validation.leaving[index, 1])
  assert point.test_cost == pytest.approx(10 + 100 * PLACED.test.leaving[index, 1])


def test_of_points_of_one_cost_the_more_accurate_is_taken():
  points = points_at((0.5, 0.895), (0.5, 0.899), (0.5, 0.899))
  curve = Curve(PLACED.policies[:3], points, points)
  assert operating_point(curve, COSTS, 'max_accuracy_drop', 0.005).index == 1
  assert operating_point(curve, COSTS, 'target_macs', 60).index == 1


def test_a_drop_is_as_large_as_it_looks():
  points = points_at((0.5, 0.895), (1, 0.9))
  assert 0.9 - 0.895 > 0.005  # what floats make of it
  curve = Curve(PLACED.policies[:2], points, points)
  assert operating_point(curve, COSTS, 'max_accuracy_drop', 0.005).index == 0


@pytest.mark.parametrize(
  ('wish', 'value', 'message'),
  [
    ('target_macs', 9e6, r'target_macs=9000000.0; the nearest takes 10.0 M MACs at .* 0.7000'),
    ('target_latency_ms', 2, r'target_latency_ms=2; the nearest takes 10000000.000 ms at'),
    ('max_accuracy_drop', -0.01, r'nearest takes 35.0 M MACs at an accuracy of 0.9000, where the'),
    ('target_flops', 2, 'choose one of: target_macs, target_latency_ms, max_accuracy_drop'),
  ],
)
def test_a_wish_that_no_point_meets_names_the_nearest(wish, value, message):
  with pytest.raises(UserError, match=message) as caught:
    operating_point(PLACED, COSTS * 1e6, wish, value)
  assert '\n' not in str(caught.value)


def test_costs_of_another_network_are_refused():
  with pytest.raises(UserError, match='costs of 3 exits for predictions of 2'):
    operating_point(PLACED, np.ones(3), 'target_macs', 1)


def test_an_area_is_the_mean_accuracy_over_the_costs_that_all_reach():
  lines = {
    'flat': (np.array([0.0, 10]), np.array([0.8, 0.8])),
    'rising': (np.array([8.0, 2, 4]), np.array([0.9, 0.5, 0.7])),  # in any order
  }
  area, common = areas(lines)
  assert common == (2, 8)
  assert area == pytest.approx({'flat': 0.8, 'rising': (2 * 0.6 + 4 * 0.8) / 6})


def test_points_of_one_cost_count_as_one_in_an_area():
  lines = {'a': (np.array([1.0, 1, 3]), np.array([0.4, 0.6, 0.9])),
           'b': (np.array([0.0, 2]), np.array([0.5, 0.5]))}  # fmt: skip
  area, common = areas(lines)
  assert common == (1, 2) and area == pytest.approx({'a': 0.6, 'b': 0.5})


def test_areas_where_lines_meet_in_a_point_or_not_at_all():
  line = (np.array([1.0, 3]), np.array([0.5, 0.9]))
  assert areas({'a': line, 'b': (np.array([2.0]), np.array([0.6]))}) == (
    {'a': pytest.approx(0.7), 'b': 0.6},
    (2, 2),
  )
  area, _ = areas({'a': line, 'b': (np.array([4.0]), np.array([0.6]))})
  assert np.isnan(list(area.values())).all()


def test_an_area_agrees_with_scikit_learn_over_the_whole_line():
  rng = np.random.default_rng(0)
  for _ in range(20):
    cost, accuracy = rng.random(15), rng.random(15)
    order = np.argsort(cost)
    expected = auc(cost[order], accuracy[order]) / np.ptp(cost)
    assert areas({'a': (cost, accuracy)})[0]['a'] == pytest.approx(expected)
