"""The rules of the runtime are those of the program, bit for bit."""

import numpy as np
import pytest

from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.rules import FEW, Policy
from mecl_jax.evaluation import policies
from mecl_jax.evaluation.rules import CONFIDENCES, GATE, GATE_FEATURES, PATIENCE, RULES, Rule
from tests.deploy.bundles import make_policy

GATE_RULE = Rule(
  GATE, GATE_FEATURES, ((1.5, 0.3, -2.0, 0.4, -0.5), (0.5, 1.0, 2.0, -0.3, 0.1), (0.0,) * 5)
)
ALL = [*map(Rule, CONFIDENCES), GATE_RULE]


def make_logits(classes, number=300):
  """Returns logits [number, 3, classes] of a wide range, some with ties."""
  rng = np.random.default_rng(classes)
  logits = rng.normal(0, rng.choice([0.1, 2, 30], (number, 1, 1)), (number, 3, classes))
  logits[::7] = logits[::7].round()
  return logits.astype(np.float32)


def ours(rule, thresholds):
  return Policy(make_policy(rule.name, thresholds, rule.features, rule.coefficients))


def leaves_at(policy, logits):
  """Returns the exits of all images, each alone or all together, where none is taken out."""
  exits = np.full(len(logits), policy.last)
  for number in reversed(range(policy.last)):
    by_exit = [np.ascontiguousarray(logits[:, k]) for k in range(number + 1)]
    exits[policy.leaving(by_exit)] = number
  return exits


def alone(policy, logits):
  return np.concatenate([leaves_at(policy, one[None]) for one in logits])


def test_all_rules_are_compared():
  assert {rule.name for rule in ALL} == set(RULES)


@pytest.mark.parametrize('classes', [2, 10, FEW + 1])
@pytest.mark.parametrize('rule', ALL, ids=lambda rule: rule.name)
def test_exits_are_those_of_the_program(rule, classes):
  logits = make_logits(classes)
  thresholds = np.median(rule.confidence(logits), axis=0)[:2]
  if rule.name == PATIENCE:
    thresholds[:] = 2  # at the first exit the patience of all images is 1
  expected = policies.Policy(rule, thresholds).leaves_at(logits)
  assert len(np.unique(expected)) == (2 if rule.name == PATIENCE else 3)
  policy = ours(rule, thresholds)
  assert (leaves_at(policy, logits) == expected).all()
  assert (alone(policy, logits) == expected).all()


def test_patience_counts_exits_in_a_row():
  logits = np.random.default_rng(0).normal(size=(300, 4, 3)).astype(np.float32)
  expected = policies.Policy(Rule(PATIENCE), np.full(3, 2.0)).leaves_at(logits)
  first, second, third = logits[:, :3].argmax(axis=-1).T
  assert ((first == third) & (first != second) & (expected == 3)).any()
  policy = ours(Rule(PATIENCE), [2.0] * 3)
  assert (leaves_at(policy, logits) == expected).all()
  assert (alone(policy, logits) == expected).all()


@pytest.mark.parametrize('rule', ALL, ids=lambda rule: rule.name)
def test_confidence_exactly_at_the_threshold_leaves(rule):
  logits = make_logits(10, number=60)
  confidence = rule.confidence(logits)
  for row, one in enumerate(logits):
    at = confidence[row, 0]
    above = np.nextafter(at, np.inf)
    for thresholds, number in (([at, np.inf], 0), ([above, np.inf], 2)):
      policy = ours(rule, thresholds)
      assert leaves_at(policy, logits)[row] == number
      assert alone(policy, one[None]).tolist() == [number]


@pytest.mark.parametrize(
  ('thresholds', 'last'), [(['-inf', 'inf'], 0), (['inf', '-inf'], 1), (['inf', 'inf'], 2)]
)
def test_fixed_exit_decides_nothing(thresholds, last):
  logits = np.full((4, 3, 10), np.nan, np.float32)  # would be an error if they decided
  policy = Policy(make_policy('fixed', thresholds))
  expected = policies.Policy(Rule('fixed'), np.array(thresholds, float)).fixed_exit
  assert policy.last == expected == last
  assert leaves_at(policy, logits).tolist() == [last] * 4


@pytest.mark.parametrize('rule', ALL, ids=lambda rule: rule.name)
def test_infinite_thresholds(rule):
  logits = make_logits(10, number=5)
  assert alone(ours(rule, [np.inf, -np.inf]), logits).tolist() == [1] * 5
  assert leaves_at(ours(rule, [np.inf, np.inf]), logits).tolist() == [2] * 5


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('number', [1, 3])
def test_logits_that_are_not_finite_are_rejected(bad, number):
  logits = make_logits(10, number)[:, 0]
  logits[0, 3] = bad
  with pytest.raises(BundleError, match=f'1 of {number} images have logits that are not finite'):
    Policy(make_policy('entropy', [0.5, 0.5])).leaving([logits])
