import gc
import weakref

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import thresholds
from mecl_jax.evaluation.choice import candidates, choose_policy, given_policy
from mecl_jax.evaluation.costs import Costs, UnitCosts, unit_costs
from mecl_jax.evaluation.operating_points import Target
from mecl_jax.evaluation.policies import Policy, fixed, load_policy, save_policy
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import RULES, Rule, confidence_of, fit_rule
from tests.evaluation.predictions import make

VALIDATION, TEST = make(n=150), make('test', n=120)
MACS = np.array([10, 25, 32, 40])
ALONE = np.array([10, 23, 29, 36])
COSTS = Costs(unit_costs(ALONE, MACS), unit_costs((1.0, 2.5, 3.0, 5.0), (1.5, 3.0, 3.5, 6.0)))
WAYS = ('shared', 'budgeted', 'per_exit')


def worth(policy, split, costs):
  """Returns accuracy and mean cost, computed without the module under test."""
  at = policy.leaves_at(split.logits)
  if isinstance(costs, UnitCosts):
    costs = costs.of(policy.rule.name)
  return split.right()[np.arange(len(at)), at].mean(), costs[at].mean()


@pytest.fixture(scope='module')
def lines():
  return candidates(VALIDATION, TEST, COSTS.macs, Target('max_accuracy_drop', 0.02))


def test_every_rule_has_all_suitable_thresholds(lines):
  ways = {(line.rule, line.thresholds) for line in lines}
  assert len(ways) == len(lines)
  suits = {(rule, way) for rule in RULES for way in ('budgeted', 'shared', 'per_exit')}
  assert ways == suits - {('patience', 'budgeted')} | {('fixed', 'fixed')}
  for line in lines:
    assert {policy.rule.name for policy in line.curve.policies} == {line.rule}


def test_lines_are_ordered_by_cost(lines):
  for line in lines:
    if line.thresholds != 'budgeted':  # ties may take more than their share
      assert (np.diff(line.curve.validation.mean(COSTS.macs)) >= 0).all(), line[:2]


def test_target_adds_a_candidate_of_its_own(lines):
  for line in lines:
    if line.thresholds == 'per_exit':
      expected = thresholds.per_exit(line.curve.policies[0].rule, VALIDATION, MACS, 0.02).thresholds
      assert any(np.array_equal(policy.thresholds, expected) for policy in line.curve.policies)


@pytest.mark.parametrize('name', RULES)
def test_sweep_is_no_worse_than_shared_thresholds(name):
  rule = fit_rule(name, VALIDATION)
  own = [worth(p, VALIDATION, MACS) for p in thresholds.per_exit_sweep(rule, VALIDATION, MACS)]
  shared = [worth(p, VALIDATION, MACS) for p in thresholds.shared(rule, VALIDATION)]
  for price in thresholds.SWEPT_PRICES / (MACS[-1] - MACS[0]):
    best, best_shared = (max(a - price * c for a, c in points) for points in (own, shared))
    assert best >= best_shared - 1e-12


@pytest.mark.parametrize(
  'target',
  [
    Target('max_accuracy_drop', 0.02),
    Target('target_macs', 21),
    Target('target_latency_ms', 2.5),
  ],
  ids=lambda target: f'{target.name}={target.value}',
)
def test_choice_is_the_best_on_validation(target):
  unit = COSTS.ms if target.name == 'target_latency_ms' else COSTS.macs
  choice = choose_policy(VALIDATION, TEST, COSTS, target)
  least = VALIDATION.right()[:, -1].mean() - target.value - 1e-9

  def rank(policy):
    """Returns a rank, smaller is better; None if the policy misses the target."""
    accuracy, cost = worth(policy, VALIDATION, unit)
    if target.name == 'max_accuracy_drop':
      return (cost, -accuracy) if accuracy >= least else None
    return (-accuracy, cost) if cost <= target.value else None

  best = {}
  for line in choice.lines:
    ranks = [r for r in map(rank, line.curve.policies) if r]
    if ranks:
      best[line[:2]] = min(ranks)
  assert {option.line[:2] for option in choice.options} == set(best)
  for option in choice.options:
    if option.line.rule != 'fixed' and option is not choice.chosen:
      assert rank(option.point.policy) == pytest.approx(best[option.line[:2]])
    accuracy, cost = worth(option.point.policy, TEST, unit)
    assert (option.point.test_accuracy, option.point.test_cost) == pytest.approx((accuracy, cost))
  policies = [policy for line in choice.lines for policy in line.curve.policies if rank(policy)]
  fastest = [
    (worth(p, VALIDATION, unit)[0], worth(p, VALIDATION, COSTS.ms)[1])
    for p in policies
    if p.rule.name == 'fixed'
  ]

  def is_slow(policy):
    accuracy, ms = worth(policy, VALIDATION, COSTS.ms)
    return policy.rule.name != 'fixed' and any(a >= accuracy and t <= ms for a, t in fastest)

  allowed = [policy for policy in policies if not is_slow(policy)]
  assert rank(choice.chosen.point.policy) == pytest.approx(min(map(rank, allowed)))
  assert choice.chosen in choice.options


def test_lines_that_miss_the_target_are_no_option():
  # Only thresholds with which nearly all leave at the first exit are so cheap.
  choice = choose_policy(VALIDATION, TEST, COSTS, Target('target_macs', 10))
  assert 0 < len(choice.options) < len(choice.lines)
  assert set(choice.chosen.point.policy.leaves_at(VALIDATION.logits)) == {0}


def right_at_exits(name, *accuracies, n=100):
  """Predictions of two classes without any sign of which are right."""
  logits = np.zeros((n, len(accuracies), 2))
  for k, accuracy in enumerate(accuracies):
    logits[np.arange(n) >= round(accuracy * n), k, 1] = 2.0
    logits[np.arange(n) < round(accuracy * n), k, 0] = 2.0
  return Predicted(name, logits, np.zeros(n, int))


def test_accurate_cheap_exit_is_chosen_before_any_rule():
  # As on CIFAR-10: the middle exit is the most accurate, and a rule cannot gain on it.
  splits = [right_at_exits(name, 0.5, 0.64, 0.63) for name in ('validation', 'test')]
  costs = Costs(unit_costs((5, 10, 17), (5, 11, 19)))
  for target in (Target('target_macs', 11), Target('max_accuracy_drop', 0.005)):
    choice = choose_policy(*splits, costs, target)
    policy = choice.chosen.point.policy
    assert (policy.rule.name, policy.fixed_exit) == ('fixed', 1), target
    assert choice.chosen.point.test_cost == 10


def test_equal_policies_are_decided_by_simplicity():
  splits = [right_at_exits(name, 0.9, 0.9) for name in ('validation', 'test')]
  costs = Costs(unit_costs((10, 20), (10, 21)))
  choice = choose_policy(*splits, costs, Target('max_accuracy_drop', 0.0))
  assert choice.chosen.point.policy.fixed_exit == 0
  ways = [line.thresholds for line in choice.lines]
  assert ways[0] == 'fixed' and [w for k, w in enumerate(ways) if w not in ways[:k]] == [
    'fixed', *WAYS,
  ]  # fmt: skip


def test_final_exit_is_a_candidate():
  splits = [right_at_exits(name, 0.2, 0.9) for name in ('validation', 'test')]
  costs = Costs(unit_costs((10, 20), (10, 25)))
  chosen = choose_policy(*splits, costs, Target('max_accuracy_drop', 0.0)).chosen.point
  assert chosen.policy.fixed_exit == 1 and chosen.test_cost == 20


def test_every_fixed_exit_within_the_target_is_an_option():
  choice = choose_policy(VALIDATION, TEST, Costs(COSTS.macs), Target('target_macs', 23))
  exits = [o.point.policy.fixed_exit for o in choice.options if o.line.rule == 'fixed']
  assert exits == [0, 1]


@pytest.mark.parametrize('name', ['target_latency_ms', 'target_macs', 'max_accuracy_drop'])
def test_chosen_policy_is_no_slower_than_an_accurate_fixed_exit(name):
  # Decisions take so long that a rule saves MACs, but no time.
  slow = unit_costs((1.0, 1.1, 1.2, 1.3), (1.2, 1.6, 2.0, 2.4))
  value = {'target_latency_ms': 3.0, 'target_macs': 35, 'max_accuracy_drop': 0.02}[name]
  choice = choose_policy(VALIDATION, TEST, Costs(COSTS.macs, slow), Target(name, value))
  accuracy, ms = worth(choice.chosen.point.policy, VALIDATION, slow)
  rows = [(worth(fixed(k, 4), VALIDATION, slow), ALONE[k]) for k in range(4)]
  for (of_exit, time), macs in rows:
    if name != 'target_macs' or macs <= value:
      assert of_exit < accuracy or time >= ms


def test_choice_ignores_the_test_split():
  other = make('test', n=80, seed=5)
  shuffled = Predicted('test', other.logits, other.labels[::-1])
  target = Target('target_macs', 21)
  first, second = (choose_policy(VALIDATION, test, COSTS, target) for test in (TEST, shuffled))
  assert first.chosen.line[:2] == second.chosen.line[:2]
  one, two = first.chosen.point, second.chosen.point
  np.testing.assert_array_equal(one.policy.thresholds, two.policy.thresholds)
  assert one.validation_accuracy == two.validation_accuracy
  assert one.test_accuracy != two.test_accuracy


def test_unmet_target_names_the_nearest_of_all_rules(lines):
  nearest = min(line.curve.validation.mean(COSTS.macs).min() for line in lines)
  with pytest.raises(UserError, match=rf'no operating point meets .*nearest takes {nearest:.0f} M'):
    choose_policy(VALIDATION, TEST, COSTS, Target('target_macs', 9))
  with pytest.raises(UserError, match=r'nearest takes 1\.000 ms') as caught:
    choose_policy(VALIDATION, TEST, COSTS, Target('target_latency_ms', 0.5))
  assert '\n' not in str(caught.value)


def test_bad_targets_are_rejected():
  with pytest.raises(UserError, match='choose one of: target_macs'):
    Target('target_flops', 1)
  with pytest.raises(UserError, match='--mode=latency measures them'):
    choose_policy(VALIDATION, TEST, Costs(COSTS.macs), Target('target_latency_ms', 1))
  with pytest.raises(UserError, match=r'max_accuracy_drop is -0\.1'):
    choose_policy(VALIDATION, TEST, COSTS, Target('max_accuracy_drop', -0.1))
  with pytest.raises(UserError, match='not from the test split'):
    choose_policy(TEST, TEST, COSTS, Target('target_macs', 20))


def test_given_policy_is_the_only_option(tmp_path):
  path = tmp_path / 'policy.json'
  save_policy(path, Policy(Rule('margin'), np.array([0.5, np.inf, 0.4])), 'digits')
  policy = load_policy(path, 'digits')
  choice = given_policy(policy, VALIDATION, TEST, COSTS)
  assert choice.options == (choice.chosen,) and choice.target is None
  assert choice.chosen.line[:2] == ('margin', 'given') and choice.chosen.point.policy is policy
  accuracy, cost = worth(policy, TEST, MACS)
  assert choice.chosen.point.test_accuracy == pytest.approx(accuracy)
  assert choice.chosen.point.test_cost == pytest.approx(cost)
  assert {line.rule for line in choice.lines} == {*RULES, 'fixed'}


def test_policy_of_another_network_is_rejected():
  policy = Policy(Rule('margin'), np.zeros(4))
  with pytest.raises(UserError, match='a policy of 5 exits for predictions of 4') as caught:
    given_policy(policy, VALIDATION, TEST, COSTS)
  assert '\n' not in str(caught.value)


def test_network_of_one_exit_has_one_choice():
  validation, test = make(exits=1), make('test', exits=1)
  costs = Costs(unit_costs([7], [7]))
  choice = choose_policy(validation, test, costs, Target('max_accuracy_drop', 0.005))
  assert choice.chosen.point.test_accuracy == test.right().mean()
  assert choice.chosen.point.test_cost == 7


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('target', [12, 21, 30])
def test_per_exit_within_a_target_is_most_accurate(name, target):
  rule = fit_rule(name, VALIDATION)
  accuracy, cost = worth(
    thresholds.per_exit_within(rule, VALIDATION, MACS, target), VALIDATION, MACS
  )
  others = [
    *thresholds.shared(rule, VALIDATION),
    *thresholds.per_exit_sweep(rule, VALIDATION, MACS),
  ]
  kept = [a for a, c in (worth(p, VALIDATION, MACS) for p in others) if c <= target]
  assert cost <= target * (1 + 1e-9) and accuracy >= max(kept) - 1e-12


@pytest.mark.parametrize('name', RULES)
def test_confidences_of_a_split_are_computed_once(name, monkeypatch):
  split = make(n=50, exits=5, seed=3)
  rule = fit_rule(name, make(exits=5))
  kept = confidence_of(split, rule)
  np.testing.assert_array_equal(kept, rule.confidence(split.logits))
  with pytest.raises(ValueError, match='read-only'):
    kept[0, 0] = 0
  monkeypatch.setattr(Rule, 'confidence', None)
  assert confidence_of(split, Rule(name, rule.features, rule.coefficients)) is kept


def test_confidences_are_freed_with_their_split():
  split = make(n=50)
  kept = weakref.ref(confidence_of(split, Rule('margin')))
  del split
  gc.collect()
  assert kept() is None
