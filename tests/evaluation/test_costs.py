import jax
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation.costs import UnitCosts, dynamic_macs, make_costs, unit_costs
from mecl_jax.models import ExitCost, count_macs, exit_costs
from tests.models.networks import build


def exit_(head, macs, head_macs):
  return ExitCost('name', 'stage', head, macs, 1, head_macs, 1)


def test_heads_of_earlier_exits_are_counted():
  # Stages of 100, 200 and 300; heads of 5, 7 and 9.
  costs = [exit_('conv', 105, 5), exit_('conv', 307, 7), exit_('linear', 609, 9)]
  assert dynamic_macs(costs).tolist() == [105, 300 + 5 + 7, 600 + 5 + 7 + 9]


def test_head_inside_a_cascade_is_counted_once():
  # The same heads, the second and third include the one before; the last does not.
  costs = [
    exit_('conv', 105, 5),
    exit_('cascade_conv', 312, 12),
    exit_('cascade_mlp', 621, 21),
    exit_('linear', 1011, 11),
  ]
  assert dynamic_macs(costs).tolist() == [105, 312, 621, 1000 + 21 + 11]


@pytest.mark.parametrize('head', ['conv', 'cascade_conv'])
def test_last_exit_costs_the_whole_network(head):
  model = build(exits=('stem', 'stage1=linear', 'stage2'), head=head)
  macs = dynamic_macs(exit_costs(model, (8, 8, 3)))
  image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.uint8)
  for k in range(1, 5):
    names = model.exit_names[:k]
    assert macs[k - 1] == count_macs(lambda image, names=names: model(image, names), image)


def test_costs_sum_segments_and_heads():
  # Stages of 100, 200 and 300 and heads of 5, 7 and 9.
  exits = [
    ExitCost('a', 's', 'conv', 105, 1, 5, 1),
    ExitCost('b', 's', 'conv', 307, 1, 7, 1),
    ExitCost('final', 's', 'linear', 609, 1, 9, 1),
  ]
  ms = UnitCosts(np.array([1.0, 3, 3.5]), {'margin': np.array([1.5, 4, 5])})
  costs = make_costs(exits, ms)
  assert costs.macs.of('margin').tolist() == costs.macs.of('gate').tolist() == [105, 312, 621]
  assert costs.macs.of('fixed').tolist() == [105, 307, 609]
  assert costs.ms is ms and costs.ms.of('fixed').tolist() == [1, 3, 3.5]
  assert (ms.least, ms.whole) == (1, 5)
  assert make_costs(exits).ms is None
  with pytest.raises(UserError, match='latencies of 2 exits for predictions of 3'):
    make_costs(exits, unit_costs(np.ones(2), np.ones(2)))
