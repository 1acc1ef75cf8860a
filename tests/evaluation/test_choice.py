import gc
import weakref

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import rules, thresholds
from mecl_jax.evaluation.choice import (
  Costs,
  Wish,
  candidates,
  choose_policy,
  given_policy,
  make_costs,
)
from mecl_jax.evaluation.policies import Policy, load_policy, save_policy
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import RULES, Rule, confidence_of, fit_rule
from mecl_jax.models import ExitCost
from tests.evaluation.predictions import make

VALIDATION, TEST = make(n=150), make('test', n=120)
MACS = np.array([10, 25, 32, 40])
COSTS = Costs(MACS, 36, np.array([1.0, 3.0, 3.5, 6.0]), 5.0)


def worth(policy, split, costs):
  """Accuracy and mean cost, without what `choice` computes."""
  at = policy.leaves_at(split.logits)
  return split.right()[np.arange(len(at)), at].mean(), costs[at].mean()


@pytest.fixture(scope='module')
def lines():
  return candidates(VALIDATION, TEST, MACS, Wish('max_accuracy_drop', 0.02))


def test_every_rule_has_thresholds_found_in_every_way_that_suits_it(lines):
  ways = {(line.rule, line.thresholds) for line in lines}
  assert len(ways) == len(lines)
  suits = {(rule, way) for rule in RULES for way in ('budgeted', 'shared', 'per_exit')}
  assert ways == suits - {('patience', 'budgeted')}
  for line in lines:
    assert {policy.rule.name for policy in line.curve.policies} == {line.rule}


def test_lines_go_from_cheap_to_dear(lines):
  for line in lines:
    if line.thresholds != 'budgeted':  # whose ties may take more than their share
      assert (np.diff(line.curve.validation.mean(MACS)) >= 0).all(), line[:2]


def test_a_wish_for_a_drop_is_a_candidate_of_its_own(lines):
  for line in lines:
    if line.thresholds == 'per_exit':
      wished = thresholds.per_exit(line.curve.policies[0].rule, VALIDATION, MACS, 0.02).thresholds
      assert any(np.array_equal(policy.thresholds, wished) for policy in line.curve.policies)


@pytest.mark.parametrize('name', RULES)
def test_a_sweep_of_prices_is_worth_no_less_than_shared_thresholds(name):
  rule = fit_rule(name, VALIDATION)
  own = [worth(p, VALIDATION, MACS) for p in thresholds.per_exit_sweep(rule, VALIDATION, MACS)]
  shared = [worth(p, VALIDATION, MACS) for p in thresholds.shared(rule, VALIDATION)]
  for price in thresholds.SWEPT_PRICES / (MACS[-1] - MACS[0]):
    best, best_shared = (max(a - price * c for a, c in points) for points in (own, shared))
    assert best >= best_shared - 1e-12


@pytest.mark.parametrize(
  'wish',
  [
    Wish('max_accuracy_drop', 0.02),
    Wish('target_macs', 21),
    Wish('target_latency_ms', 2.5),
  ],
  ids=lambda wish: f'{wish.name}={wish.value}',
)
def test_the_choice_is_the_best_of_all_on_validation(wish):
  unit = COSTS.ms if wish.name == 'target_latency_ms' else COSTS.macs
  choice = choose_policy(VALIDATION, TEST, COSTS, wish)
  least = VALIDATION.right()[:, -1].mean() - wish.value - 1e-9

  def rank(policy):
    """The smaller, the better; None: it does not meet the wish."""
    accuracy, cost = worth(policy, VALIDATION, unit)
    if wish.name == 'max_accuracy_drop':
      return (cost, -accuracy) if accuracy >= least else None
    return (-accuracy, cost) if cost <= wish.value else None

  best = {}
  for line in choice.lines:
    ranks = [r for r in map(rank, line.curve.policies) if r]
    if ranks:
      best[line[:2]] = min(ranks)
  assert {option.line[:2] for option in choice.options} == set(best)
  for option in choice.options:
    assert rank(option.point.policy) == pytest.approx(best[option.line[:2]])
    accuracy, cost = worth(option.point.policy, TEST, unit)
    assert (option.point.test_accuracy, option.point.test_cost) == pytest.approx((accuracy, cost))
  assert rank(choice.chosen.point.policy) == pytest.approx(min(best.values()))
  assert choice.chosen in choice.options


def test_lines_that_cannot_meet_a_wish_are_no_option():
  # Only thresholds at which nearly all leave at once are so cheap.
  choice = choose_policy(VALIDATION, TEST, COSTS, Wish('target_macs', 10))
  assert 0 < len(choice.options) < len(choice.lines)
  assert set(choice.chosen.point.policy.leaves_at(VALIDATION.logits)) == {0}


def test_the_test_split_has_no_say():
  other = make('test', n=80, seed=5)
  shuffled = Predicted('test', other.logits, other.labels[::-1])
  wish = Wish('target_macs', 21)
  first, second = (choose_policy(VALIDATION, test, COSTS, wish) for test in (TEST, shuffled))
  assert first.chosen.line[:2] == second.chosen.line[:2]
  one, two = first.chosen.point, second.chosen.point
  np.testing.assert_array_equal(one.policy.thresholds, two.policy.thresholds)
  assert one.validation_accuracy == two.validation_accuracy
  assert one.test_accuracy != two.test_accuracy


def test_a_wish_that_nothing_meets_names_the_nearest_of_all_rules(lines):
  nearest = min(line.curve.validation.mean(MACS).min() for line in lines)
  with pytest.raises(UserError, match=rf'no operating point meets .*nearest takes {nearest:.0f} M'):
    choose_policy(VALIDATION, TEST, COSTS, Wish('target_macs', 9))
  with pytest.raises(UserError, match=r'nearest takes 1\.000 ms') as caught:
    choose_policy(VALIDATION, TEST, COSTS, Wish('target_latency_ms', 0.5))
  assert '\n' not in str(caught.value)


def test_bad_wishes_are_refused():
  with pytest.raises(UserError, match='choose one of: target_macs'):
    Wish('target_flops', 1)
  with pytest.raises(UserError, match='--mode=latency measures them'):
    choose_policy(VALIDATION, TEST, Costs(MACS, 36), Wish('target_latency_ms', 1))
  with pytest.raises(UserError, match=r'max_accuracy_drop is -0\.1'):
    choose_policy(VALIDATION, TEST, COSTS, Wish('max_accuracy_drop', -0.1))
  with pytest.raises(UserError, match='not from the test split'):
    choose_policy(TEST, TEST, COSTS, Wish('target_macs', 20))


def test_costs_are_those_of_all_exits_on_the_way():
  # Stages of 100, 200 and 300 and heads of 5, 7 and 9.
  exits = [
    ExitCost('a', 's', 'conv', 105, 1, 5, 1),
    ExitCost('b', 's', 'conv', 307, 1, 7, 1),
    ExitCost('final', 's', 'linear', 609, 1, 9, 1),
  ]
  costs = make_costs(exits, np.array([1.0, 2.5, 0.5]), 3.25)
  assert costs.macs.tolist() == [105, 312, 621] and costs.final_macs == 609
  assert costs.ms.tolist() == [1, 3.5, 4] and costs.final_ms == 3.25
  assert make_costs(exits).ms is None
  with pytest.raises(UserError, match='latencies of 2 exits for predictions of 3'):
    make_costs(exits, np.ones(2), 2)


def test_a_given_policy_is_the_only_option(tmp_path):
  path = tmp_path / 'policy.json'
  save_policy(path, Policy(Rule('margin'), np.array([0.5, np.inf, 0.4])), 'digits')
  policy = load_policy(path, 'digits')
  choice = given_policy(policy, VALIDATION, TEST, COSTS)
  assert choice.options == (choice.chosen,) and choice.wish is None
  assert choice.chosen.line[:2] == ('margin', 'given') and choice.chosen.point.policy is policy
  accuracy, cost = worth(policy, TEST, MACS)
  assert choice.chosen.point.test_accuracy == pytest.approx(accuracy)
  assert choice.chosen.point.test_cost == pytest.approx(cost)
  assert {line.rule for line in choice.lines} == set(RULES)


def test_a_given_policy_of_another_network_is_refused():
  policy = Policy(Rule('margin'), np.zeros(4))
  with pytest.raises(UserError, match='a policy of 5 exits for predictions of 4') as caught:
    given_policy(policy, VALIDATION, TEST, COSTS)
  assert '\n' not in str(caught.value)


def test_a_network_of_one_exit_has_one_choice():
  validation, test = make(exits=1), make('test', exits=1)
  costs = Costs(np.array([7]), 7)
  choice = choose_policy(validation, test, costs, Wish('max_accuracy_drop', 0.005))
  assert choice.chosen.point.test_accuracy == test.right().mean()
  assert choice.chosen.point.test_cost == 7


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('target', [12, 21, 30])
def test_thresholds_per_exit_within_a_target_are_no_less_accurate_than_others(name, target):
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
def test_a_split_is_asked_once_and_says_the_same(name, monkeypatch):
  split = make(n=50, exits=5, seed=3)
  rule = fit_rule(name, make(exits=5))
  kept = confidence_of(split, rule)
  np.testing.assert_array_equal(kept, rule.confidence(split.logits))
  with pytest.raises(ValueError, match='read-only'):
    kept[0, 0] = 0
  monkeypatch.setattr(rules, 'measures', None)
  assert confidence_of(split, Rule(name, rule.learnt)) is kept


def test_what_a_split_said_goes_with_it():
  split = make(n=50)
  kept = weakref.ref(confidence_of(split, Rule('margin')))
  del split
  gc.collect()
  assert kept() is None
