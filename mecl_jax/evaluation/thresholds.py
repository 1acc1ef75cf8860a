"""Searches for the thresholds of an exit rule, on the validation split only."""

from collections.abc import Callable
import math

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy, first_reached
from mecl_jax.evaluation.predictions import Predicted, check_same_exits, check_validation
from mecl_jax.evaluation.rules import Rule, confidence_of
from mecl_jax.evaluation.tasks import TASKS

BUDGETS = range(1, 40)  # p in MSDNet's protocol
SHARED = 100  # thresholds of a sweep
CANDIDATES = 30  # thresholds tried per exit; more would fit the noise of the validation split
TOLERANCE = 1e-9  # of accuracies, far below one example: in floats, 0.9 - 0.005 is not 0.895
HALVINGS = 24  # bisection steps over the prices, on a logarithmic scale
PRICES = (1e-6, 1e3)  # price: accuracy exchanged for the cost of the last exit
SWEPT_PRICES = np.geomspace(1, 2e-3, 16)  # accuracy for the difference of first and last cost

Value = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of accuracy and cost; higher is better


def budgeted(rule: Rule, validation: Predicted) -> list[Policy]:
  """Makes the 39 policies of MSDNet's budgeted batch protocol, from cheap to expensive.

  For p = 1, .., 39 and r = p / 20, exit k = 1, .., K should take a share q_k of the examples in
  proportion to r^k. Its threshold is the confidence of the floor(n q_k)-th most confident of the
  examples that have not left before. This number is computed with integers, since floats give 0 for
  49 * (1 / 49). If it is 0, no example leaves at k; if fewer examples remain, all of them leave.
  Equal confidences leave together, so ties can exceed the share. With `patience`, all examples tie
  at the first exit and leave there in all 39 policies.

  Args:
    rule: the exit rule.
    validation: predictions of the validation split.

  Returns:
    39 policies; the larger p, the more examples the later exits take.

  Raises:
    UserError: the split is not the validation split.

  References:
    Huang et al., "Multi-Scale Dense Networks", ICLR 2018, arXiv 1703.09844.
  """
  check_validation(validation)
  confidence = confidence_of(validation, rule)
  counts = (_budget(p, *confidence.shape) for p in BUDGETS)
  return [Policy(rule, _fill(confidence, count)) for count in counts]


def shared(rule: Rule, validation: Predicted, number: int = SHARED) -> list[Policy]:
  """Sweeps one threshold for all exits over the confidences of the early exits.

  Args:
    rule: the exit rule.
    validation: predictions of the validation split.
    number: number of evenly spaced quantiles of the confidences, from the smallest to the largest;
      equal ones count once.

  Returns:
    a policy per threshold: with the first, all examples leave at the first exit; one more policy at
    the end lets no example leave early.

  Raises:
    UserError: the split is not the validation split.
  """
  check_validation(validation)
  return _shared(rule, confidence_of(validation, rule), number)


def per_exit(
  rule: Rule,
  validation: Predicted,
  costs: np.ndarray,
  max_accuracy_drop: float,
  number: int = CANDIDATES,
) -> Policy:
  """Searches one threshold per exit: a cheap policy within a limit of the accuracy drop.

  The search starts from the cheapest `shared` policy that keeps the limit. It sets the threshold of
  one exit after the other to the best candidate, given those of the other exits, until none
  changes. The best candidate has the largest accuracy - price * cost. The price is the same for all
  exits, and the highest that keeps the limit, found by bisection. A last pass starts from the
  cheapest policy found within the limit; there the best candidate is the cheapest within the limit,
  which uses the rest of the drop. So the result never costs more than the start, but it need not be
  the cheapest of all.

  Args:
    rule: the exit rule.
    validation: predictions of the validation split.
    costs: float [exits], of an example that leaves there, in any unit (see `dynamic_macs`).
    max_accuracy_drop: limit of the accuracy lost against the final exit, as a share of the
      validation examples; of the quality of another task.
    number: number of candidates per exit, evenly spaced quantiles of its confidences. More of them
      fit the validation examples better, but lose more accuracy on other examples.

  Raises:
    UserError: the drop is negative, the split is not the validation split, or the costs are of
      another number of exits.
  """
  if not max_accuracy_drop >= 0:
    raise UserError(f'max_accuracy_drop is {max_accuracy_drop}; it must be a share, 0 or above')
  search = _search(rule, validation, costs, number)
  least = search.right[:, -1].mean() - max_accuracy_drop / search.scale - TOLERANCE

  def cost_within(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
    return np.where(accuracy >= least, -cost, -np.inf)

  def value(thresholds: np.ndarray) -> float:
    return float(cost_within(*search.measure(thresholds)))

  start = max((p.thresholds for p in _shared(rule, search.confidence, SHARED)), key=value)
  best, (low, high) = start, PRICES
  for _ in range(HALVINGS):
    price = math.sqrt(low * high)
    found = search.climb(start, _net_of(price))
    low, high = (price, high) if value(found) > -np.inf else (low, price)
    best = max(best, found, key=value)
  return Policy(rule, search.climb(best, cost_within))


def per_exit_within(rule: Rule, validation: Predicted, costs: np.ndarray, target: float) -> Policy:
  """Searches one threshold per exit: an accurate policy within a limit of the mean cost.

  The search starts from the most accurate policy of `shared` and `per_exit_sweep` within the limit.
  It sets the threshold of one exit after the other to the most accurate candidate within the limit,
  until none changes.

  Args:
    rule, validation, costs: as of `per_exit`.
    target: limit of the mean cost, in the unit of the costs; if no start keeps it, the result does
      not keep it either.

  Raises:
    UserError: the split is not the validation split, or the costs are of another number of exits.
  """
  search = _search(rule, validation, costs, CANDIDATES)
  most = target / np.max(costs) * (1 + TOLERANCE)

  def accuracy_within(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
    return np.where(cost <= most, accuracy, -np.inf)

  starts = _shared(rule, search.confidence, SHARED) + per_exit_sweep(rule, validation, costs)
  values = [accuracy_within(*search.measure(policy.thresholds)) for policy in starts]
  return Policy(rule, search.climb(starts[int(np.argmax(values))].thresholds, accuracy_within))


def per_exit_sweep(rule: Rule, validation: Predicted, costs: np.ndarray) -> list[Policy]:
  """Searches one threshold per exit for each of 16 prices of the costs.

  For every price, the search of `per_exit` starts from the best `shared` policy by accuracy -
  price * cost.

  Args:
    rule, validation, costs: as of `per_exit`.

  Returns:
    the policies, each once.

  Raises:
    UserError: the split is not the validation split, or the costs are of another number of exits.
  """
  search = _search(rule, validation, costs, CANDIDATES)
  starts = [p.thresholds for p in _shared(rule, search.confidence, SHARED)]
  accuracy, cost = np.array([search.measure(thresholds) for thresholds in starts]).T
  spread = np.ptp(search.costs) or 1.0  # a single exit has none
  swept = {}
  for price in SWEPT_PRICES / spread:
    value = _net_of(price)
    found = search.climb(starts[value(accuracy, cost).argmax()], value)
    swept[tuple(found)] = Policy(rule, found)
  return list(swept.values())


def _net_of(price: float) -> Value:
  """Returns the value: accuracy - price * cost."""
  return lambda accuracy, cost: accuracy - price * cost


def _search(rule: Rule, validation: Predicted, costs: np.ndarray, number: int) -> '_Search':
  check_validation(validation)
  check_same_exits('costs', len(costs), validation.exits)
  quality, scale = validation.quality(), 1.0
  if not TASKS[validation.task].shown.is_share:
    # In proportion to the errors of the final exit: the prices must not depend on the unit.
    scale = float(np.abs(quality[:, -1]).mean()) or 1.0
  return _Search(
    confidence_of(validation, rule), quality, np.asarray(costs, np.float64), number, scale
  )


class _Search:
  """Coordinate search over thresholds: the best one of an exit, given those of the others.

  Args:
    confidence: float [N, exits].
    right: bool [N, exits], or another quality.
    costs: float [exits]; divided by the largest inside.
    number: number of candidates per exit.
    scale: of the quality, which is divided by it inside.
  """

  def __init__(
    self,
    confidence: np.ndarray,
    right: np.ndarray,
    costs: np.ndarray,
    number: int,
    scale: float = 1.0,
  ):
    self.confidence, self.costs, self.scale = confidence, costs / costs.max(), scale
    self.right = right.astype(int) if right.dtype == bool else right / scale
    self.falling = np.asfortranarray(np.argsort(-confidence, axis=0, kind='stable'))
    self.candidates = [_candidates(of_exit, number) for of_exit in confidence.T]

  def measure(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean accuracy and mean cost of thresholds, scalars."""
    return self._means(first_reached(self.confidence, thresholds))

  def _means(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean accuracy and mean cost of examples that leave at exits `at`, int [N]."""
    return self.right[np.arange(len(at)), at].mean(), self.costs[at].mean()

  def climb(self, thresholds: np.ndarray, value: Value) -> np.ndarray:
    """Sets one threshold after the other to the best by `value`, until none changes."""
    thresholds, now = thresholds.copy(), value(*self.measure(thresholds))
    before: float | np.ndarray = -np.inf
    while now > before + TOLERANCE:
      for k in range(len(thresholds)):
        thresholds[k] = self._best(k, thresholds, value)
      before, now = now, value(*self.measure(thresholds))
    return thresholds

  def _best(self, k: int, thresholds: np.ndarray, value: Value) -> float:
    """Returns the best candidate for exit k; the present threshold, if no other is better."""
    n = len(self.confidence)
    before = first_reached(self.confidence[:, : k + 1], thresholds[:k])
    later = k + 1 + first_reached(self.confidence[:, k + 1 :], thresholds[k + 1 :])
    reached = before == k
    accuracy, cost = self._means(np.where(reached, later, before))  # if no example left here
    here = self.falling[:, k][reached[self.falling[:, k]]]
    later = later[here]
    # Changes if the 0, 1, 2, .. most confident leave here, and how many do for every candidate.
    gained = np.append(0, np.cumsum(self.right[here, k] - self.right[here, later]))
    saved = np.append(0, np.cumsum(self.costs[later] - self.costs[k]))
    candidates = np.append(thresholds[k], self.candidates[k])
    leaving = np.searchsorted(-self.confidence[here, k], -candidates, side='right')
    values = value(accuracy + gained[leaving] / n, cost - saved[leaving] / n)
    return float(candidates[values.argmax()])


def _shared(rule: Rule, confidence: np.ndarray, number: int) -> list[Policy]:
  early = confidence[:, :-1]
  return [Policy(rule, np.full(early.shape[1], value)) for value in _candidates(early, number)]


def _candidates(confidence: np.ndarray, number: int) -> np.ndarray:
  """Returns quantiles among the values, rising and each once, and infinity.

  At an exit with a confidence of minus infinity no example leaves by the rule.
  """
  confidence = confidence[np.isfinite(confidence)]
  if not confidence.size:
    return np.array([np.inf])
  shares = np.linspace(0, 1, number)
  return np.append(np.unique(np.quantile(confidence, shares, method='inverted_cdf')), np.inf)


def _budget(p: int, n: int, exits: int) -> list[int]:
  """Returns floor(n q_k) for every exit but the last."""
  parts = [p**k * 20 ** (exits - k) for k in range(1, exits + 1)]
  whole = sum(parts)
  return [n * part // whole for part in parts[:-1]]


def _fill(confidence: np.ndarray, counts: list[int]) -> np.ndarray:
  """Returns thresholds [exits - 1] with which the counted examples, and ties, leave."""
  thresholds = np.full(len(counts), np.inf)
  here = np.ones(len(confidence), bool)
  for k, count in enumerate(counts):
    waiting = confidence[here, k]
    count = min(count, int(np.isfinite(waiting).sum()))
    if count:
      thresholds[k] = np.partition(waiting, len(waiting) - count)[len(waiting) - count]
    here &= confidence[:, k] < thresholds[k]
  return thresholds
