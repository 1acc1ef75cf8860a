import numpy as np
import pytest

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.training.exit_schedule import exit_factors
from mecl_jax.training.plan import make_plan


def test_weight_moves_from_shallow_to_deep():
  factors = exit_factors('shallow_first', 5, 3)
  expected = [[1.8, 1, 0.2], [1.4, 1, 0.6], [1, 1, 1], [0.6, 1, 1.4], [0.2, 1, 1.8]]
  np.testing.assert_allclose(factors, expected, rtol=1e-6)
  np.testing.assert_array_equal(exit_factors('deep_first', 5, 3), factors[:, ::-1])


@pytest.mark.parametrize('exits', [2, 3, 7])
@pytest.mark.parametrize('schedule', ['shallow_first', 'deep_first'])
def test_mean_over_exits_and_over_steps_is_one(schedule, exits):
  factors = exit_factors(schedule, 11, exits)
  for axis in (0, 1):
    np.testing.assert_allclose(factors.mean(axis=axis), 1, rtol=1e-6)
  assert factors.min() > 0


def test_only_phases_with_several_exits_have_a_schedule():
  c = config.default()
  c.strategy, c.exit_schedule = 'mixed', 'deep_first'
  exits = ('stage1', 'stage2', 'final')
  backbone, joint = make_plan(resolve(c), exits, [exits[:1]] * 3, 1000, num_classes=10)
  assert backbone.exit_factors is None
  assert joint.exit_factors.shape == (joint.steps, 3)
  c.exit_schedule = 'constant'
  plans = make_plan(resolve(c), exits, [exits[:1]] * 3, 1000, num_classes=10)
  assert [plan.exit_factors for plan in plans] == [None, None]
