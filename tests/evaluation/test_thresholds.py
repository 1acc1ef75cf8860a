from fractions import Fraction
import itertools
import math

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import curves, thresholds
from mecl_jax.evaluation.costs import unit_costs
from mecl_jax.evaluation.policies import first_reached
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import RULES, Rule, fit_rule
from tests.evaluation.predictions import make, with_confidence

MOST = Rule('max_probability')
FITS = {
  'budgeted': lambda split: thresholds.budgeted(MOST, split)[0],
  'shared': lambda split: thresholds.shared(MOST, split)[0],
  'per_exit': lambda split: thresholds.per_exit(MOST, split, np.arange(1, 5), 0.1),
}


def budget_by_loops(confidence, p):
  """MSDNet's thresholds, one example at a time."""
  n, exits = confidence.shape
  parts = [Fraction(p, 20) ** k for k in range(1, exits + 1)]
  left, result = set(), []
  for k in range(exits - 1):
    wanted = math.floor(n * parts[k] / sum(parts))
    waiting = sorted((i for i in range(n) if i not in left), key=lambda i: -confidence[i, k])
    limit = math.inf
    for i in waiting[:wanted]:
      limit = confidence[i, k]
    left |= {i for i in waiting if confidence[i, k] >= limit}
    result.append(limit)
  return result


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize(
  ('n', 'exits', 'ties'),
  [(60, 4, False), (60, 4, True), (3, 6, False), (1, 2, True), (50, 1, False)],
)
def test_budgets_agree_with_a_loop(name, n, exits, ties):
  split = make(n=n, exits=exits, ties=ties)
  rule = fit_rule(name, split)
  policies = thresholds.budgeted(rule, split)
  assert len(policies) == 39
  for p, policy in enumerate(policies, 1):
    expected = budget_by_loops(rule.confidence(split.logits), p)
    assert policy.thresholds.tolist() == expected
    assert policy.thresholds.dtype == np.float64 and policy.exits == exits


def test_budget_by_hand():
  # r = 1: a third of 9 leaves at each of three exits.
  first = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]
  second = [0.99, 0.99, 0.99, 0.6, 0.7, 0.8, 0.9, 0.65, 0.55]
  split = with_confidence(np.stack((first, second, first), axis=1))
  policy = thresholds.budgeted(MOST, split)[19]
  assert policy.thresholds == pytest.approx([0.85, 0.7])
  assert policy.leaves_at(split.logits).tolist() == [0, 0, 0, 2, 1, 1, 1, 2, 2]


def test_leaving_shares_match_the_budget():
  split = make(n=1000, exits=5)
  for p, policy in enumerate(thresholds.budgeted(MOST, split), 1):
    shares = np.array([(p / 20) ** k for k in range(1, 6)])
    shares /= shares.sum()
    leaving = np.bincount(policy.leaves_at(split.logits), minlength=5) / 1000
    assert np.abs(leaving - shares)[:-1].max() <= 0.001 + 1e-12


def test_share_of_one_example_is_not_rounded_to_zero():
  assert int(49 * (1 / 49)) == 0  # what floats make of it
  split = with_confidence(np.random.default_rng(0).uniform(0.6, 0.9, (49, 49)))
  at = thresholds.budgeted(MOST, split)[19].leaves_at(split.logits)
  assert sorted(at) == list(range(49))


def test_empty_share_lets_no_example_leave():
  policy = thresholds.budgeted(MOST, make(n=3, exits=4))[19]
  assert policy.thresholds.tolist() == [np.inf] * 3


def test_ties_leave_together():
  split = with_confidence([[0.9, 0.8, 0.7]] * 4 + [[0.6, 0.8, 0.7], [0.6, 0.7, 0.7]])
  policy = thresholds.budgeted(MOST, split)[19]
  assert policy.thresholds == pytest.approx([0.9, 0.7])
  assert policy.leaves_at(split.logits).tolist() == [0, 0, 0, 0, 1, 1]
  everyone = with_confidence([[0.9, 0.8, 0.7]] * 6)
  assert thresholds.budgeted(MOST, everyone)[19].thresholds == pytest.approx([0.9, np.inf])


def test_shared_thresholds_cover_the_whole_range():
  split = make(n=150)
  policies = thresholds.shared(MOST, split, 20)
  values = np.array([policy.thresholds for policy in policies])
  assert values.shape == (21, 3) and (values == values[:, :1]).all()
  assert (np.diff(values[:, 0]) > 0).all()
  assert set(policies[0].leaves_at(split.logits)) == {0}
  assert set(policies[-1].leaves_at(split.logits)) == {3}
  early = np.sort(MOST.confidence(split.logits)[:, :-1].ravel())
  assert set(values[:-1, 0]) <= set(early)
  places = np.searchsorted(early, values[:-1, 0])
  assert np.abs(np.diff(places) - 450 / 19).max() < 2


def test_equal_shared_thresholds_count_once():
  values = [policy.thresholds[0] for policy in thresholds.shared(Rule('patience'), make())]
  assert values == [1, 2, 3, np.inf]
  (only,) = thresholds.shared(MOST, make(exits=1))
  assert only.exits == 1 and set(only.leaves_at(make(exits=1).logits)) == {0}


def worth(split, at, costs):
  return split.right()[np.arange(len(at)), at].mean(), costs[at].mean()


def cheapest_by_force(rule, split, costs, drop):
  """The least mean cost of all thresholds that there are."""
  confidence = rule.confidence(split.logits)
  values = [[*np.unique(of_exit), np.inf] for of_exit in confidence[:, :-1].T]
  found = []
  for limits in itertools.product(*values):
    accuracy, cost = worth(split, first_reached(confidence, np.array(limits)), costs)
    if accuracy >= split.right()[:, -1].mean() - drop - 1e-9:
      found.append(cost)
  return min(found)


@pytest.mark.parametrize('ties', [False, True])
def test_per_exit_is_near_the_exhaustive_search(ties):
  costs, ratios = np.array([1.0, 2.5, 3.0]), []
  for seed in range(12):
    split, drop = make(n=16, exits=3, seed=seed, ties=ties), [0, 0.0625, 0.2][seed % 3]
    policy = thresholds.per_exit(MOST, split, costs, drop, 100)
    accuracy, cost = worth(split, policy.leaves_at(split.logits), costs)
    assert accuracy >= split.right()[:, -1].mean() - drop - 1e-9
    ratios.append(cost / cheapest_by_force(MOST, split, costs, drop))
  assert min(ratios) >= 1 - 1e-12 and np.mean(ratios) < 1.03
  assert np.isclose(ratios, 1).sum() >= 8


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('drop', [0, 0.005, 0.1])
def test_per_exit_costs_no_more_than_shared(name, drop):
  for seed, exits in itertools.product(range(3), (2, 5)):
    split, costs = make(n=400, exits=exits, seed=seed), np.sqrt(np.arange(1, exits + 1.0))
    rule = fit_rule(name, split)
    least = split.right()[:, -1].mean() - drop - 1e-9
    swept = curves.curve(thresholds.shared(rule, split), split, make('test', exits=exits))
    kept = swept.validation.mean(unit_costs(costs, costs))[swept.validation.accuracy >= least]
    policy = thresholds.per_exit(rule, split, costs, drop)
    accuracy, cost = worth(split, policy.leaves_at(split.logits), costs)
    assert accuracy >= least
    assert cost <= kept.min() + 1e-12


def test_per_exit_of_extreme_limits():
  split = make()
  all_at_once = thresholds.per_exit(MOST, split, np.arange(1, 5), 1)
  assert set(all_at_once.leaves_at(split.logits)) == {0}
  assert thresholds.per_exit(MOST, make(exits=1), np.array([7]), 0).exits == 1
  # An early exit that is right where the last is wrong costs nothing to leave at.
  labels = np.zeros(30, int)
  logits = np.tile(np.eye(2), (30, 1, 1))
  always = Predicted('validation', logits, labels)
  policy = thresholds.per_exit(MOST, always, np.array([1, 2]), 0)
  assert set(policy.leaves_at(logits)) == {0}


@pytest.mark.parametrize('name', FITS)
def test_thresholds_need_the_validation_split(name):
  assert FITS[name](make()).exits == 4
  with pytest.raises(UserError, match='not from the test split'):
    FITS[name](make('test'))


def test_bad_arguments_are_rejected():
  with pytest.raises(UserError, match='costs of 3 exits for predictions of 4'):
    thresholds.per_exit(MOST, make(), np.arange(1, 4), 0.1)
  for drop in (-0.1, np.nan):
    with pytest.raises(UserError, match='max_accuracy_drop is'):
      thresholds.per_exit(MOST, make(), np.arange(1, 5), drop)
