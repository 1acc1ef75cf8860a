import numpy as np
import pytest

from mecl_jax.deploy import points
from mecl_jax.errors import UserError
from mecl_jax.evaluation.costs import Costs, unit_costs
from mecl_jax.evaluation.policies import fixed
from mecl_jax.evaluation.predictions import Predicted

COSTS = Costs(unit_costs([1.0, 2.0], [1.0, 2.5]))


def split(name):
  """The first exit is right on 3 of 4 images, and sure of two of them; the last on all."""
  labels = np.array([0, 1, 0, 1])
  last = np.where(np.arange(2) == labels[:, None], 5.0, 0.0)
  first = np.array([[4.0, 0], [0, 4.0], [0.1, 0], [0.1, 0]])
  return Predicted(name, np.stack([first, last], axis=1), labels)


def test_points_are_losses_and_costs():
  found = points.parse('accurate=0,fast=0.02, tiny=2e6 MACs')
  assert {name: (target.name, target.value) for name, target in found.items()} == {
    'accurate': ('max_accuracy_drop', 0.0),
    'fast': ('max_accuracy_drop', 0.02),
    'tiny': ('target_macs', 2e6),
  }


@pytest.mark.parametrize(
  'text', ['fast', 'fast=', 'fast=2', 'fast=-1', 'fast=nan', 'fast=1e6 ms', 'tiny=0 MACs', 'a=b=0']
)
def test_limit_that_is_none_is_rejected(text):
  with pytest.raises(UserError, match='write NAME=LOSS with a loss'):
    points.parse(text)


@pytest.mark.parametrize('text', ['=0', 'Fast=0', 'a b=0', 'a=0, a=0.1', 'größe=0', '../x=0'])
def test_name_that_is_none_is_rejected(text):
  with pytest.raises(UserError, match='every name must be of lower-case letters'):
    points.parse(text)


def test_no_point_is_rejected():
  with pytest.raises(UserError, match=r'export\.points is empty'):
    points.parse('')


def test_points_are_chosen_on_validation():
  targets = points.parse('accurate=0, fast=0.5')
  policies = points.choose(targets, split('validation'), split('test'), COSTS)
  accurate = points.effect(policies['accurate'], split('test'), COSTS.macs)
  assert accurate == {'accuracy': 1.0, 'share': [0.5, 0.5], 'macs': 1.75}
  fast = points.effect(policies['fast'], split('test'), COSTS.macs)
  assert fast == {'accuracy': 0.75, 'share': [1.0, 0.0], 'macs': 1.0}


def test_point_that_cannot_be_met_is_named():
  with pytest.raises(UserError, match=r'export\.points, tiny: no operating point meets'):
    points.choose(points.parse('tiny=0.5 MACs'), split('validation'), split('test'), COSTS)


def test_effect_of_a_fixed_exit_counts_its_head_alone():
  assert points.effect(fixed(1, 2), split('test'), COSTS.macs)['macs'] == 2.0
