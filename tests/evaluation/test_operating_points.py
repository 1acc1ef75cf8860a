import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation.costs import Costs, unit_costs
from mecl_jax.evaluation.curves import Curve, Points
from mecl_jax.evaluation.operating_points import (
  Target,
  check_reachable,
  limits_nothing,
  operating_point,
)
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.rules import Rule


def points_at(*shares_and_accuracy):
  leaving = np.array([[1 - share, share] for share, _ in shares_and_accuracy])
  accuracy = np.array([accuracy for _, accuracy in shares_and_accuracy])
  return Points(accuracy, leaving, 0.9, ('margin',) * len(accuracy))


# Costs 10 and 110: mean costs of 10, 35, 60, 60 and 110.
COSTS = unit_costs((10.0, 105.0), (10.0, 110.0))
MILLIONS = unit_costs((10e6, 105e6), (10e6, 110e6))
PLACED = Curve(
  tuple(Policy(Rule('margin'), np.array([t])) for t in (0.1, 0.2, 0.3, 0.35, 0.4)),
  points_at((0, 0.7), (0.25, 0.9), (0.5, 0.895), (0.5, 0.899), (1, 0.9)),
  points_at((0.01, 0.69), (0.2, 0.85), (0.52, 0.92), (0.5, 0.91), (1, 0.89)),
)


@pytest.mark.parametrize(
  ('name', 'value', 'index'),
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
def test_operating_points_by_hand(name, value, index):
  point = operating_point(PLACED, COSTS, Target(name, value))
  assert point.index == index and point.policy is PLACED.policies[index]
  assert point.validation_accuracy == PLACED.validation.accuracy[index]
  assert point.test_accuracy == PLACED.test.accuracy[index]
  assert point.validation_cost == pytest.approx(10 + 100 * PLACED.validation.leaving[index, 1])
  assert point.test_cost == pytest.approx(10 + 100 * PLACED.test.leaving[index, 1])


def test_more_accurate_of_equal_cost_is_taken():
  points = points_at((0.5, 0.895), (0.5, 0.899), (0.5, 0.899))
  curve = Curve(PLACED.policies[:3], points, points)
  assert operating_point(curve, COSTS, Target('max_accuracy_drop', 0.005)).index == 1
  assert operating_point(curve, COSTS, Target('target_macs', 60)).index == 1


def test_drop_equal_to_the_target_is_accepted():
  points = points_at((0.5, 0.895), (1, 0.9))
  assert 0.9 - 0.895 > 0.005  # by rounding
  curve = Curve(PLACED.policies[:2], points, points)
  assert operating_point(curve, COSTS, Target('max_accuracy_drop', 0.005)).index == 0


@pytest.mark.parametrize(
  ('name', 'value', 'message'),
  [
    ('target_macs', 9e6, r'target_macs=9000000; the nearest takes 10.0 M MACs at .* 0.7000'),
    ('target_latency_ms', 2, r'target_latency_ms=2; the nearest takes 10000000.000 ms at'),
    ('max_accuracy_drop', -0.01, r'nearest takes 35.0 M MACs at an accuracy of 0.9000, where the'),
    ('target_flops', 2, 'choose one of: target_macs, target_latency_ms, max_accuracy_drop'),
  ],
)
def test_unmet_target_names_the_nearest_point(name, value, message):
  with pytest.raises(UserError, match=message) as caught:
    operating_point(PLACED, MILLIONS, Target(name, value))
  assert '\n' not in str(caught.value)


def test_costs_of_another_network_are_rejected():
  with pytest.raises(UserError, match='costs of 3 exits for predictions of 2'):
    operating_point(PLACED, unit_costs(np.ones(3), np.ones(3)), Target('target_macs', 1))


@pytest.mark.parametrize(
  ('name', 'value', 'message'),
  [
    ('target_macs', 9e6, r'no operating point meets target_macs=9000000; .* takes 10.0 M MACs'),
    ('target_latency_ms', 2, r'meets target_latency_ms=2; the nearest takes 3.000 ms, with all'),
  ],
)
def test_unreachable_target_is_known_without_predictions(name, value, message):
  costs = Costs(MILLIONS, unit_costs((3.0, 9.0), (3.5, 11.0)))
  with pytest.raises(UserError, match=message) as caught:
    check_reachable(costs, Target(name, value))
  assert '\n' not in str(caught.value)
  check_reachable(costs, Target(name, 10e6))
  check_reachable(costs, Target('max_accuracy_drop', 0))


def test_latency_target_without_times_is_known_without_predictions():
  with pytest.raises(UserError, match='--mode=latency measures them'):
    check_reachable(Costs(MILLIONS), Target('target_latency_ms', 5))


def test_target_above_the_whole_network_limits_nothing():
  costs = Costs(MILLIONS)
  assert limits_nothing(costs, Target('target_macs', 110e6)) == (
    'target_macs=110000000 is above the cost of the whole network with all its heads (110 M MACs),'
    ' so that it limits nothing'
  )
  assert limits_nothing(costs, Target('target_macs', 109e6)) == ''
  assert limits_nothing(costs, Target('max_accuracy_drop', 1e9)) == ''
