"""Thresholds of an exit rule, from the validation split and nothing else."""

from collections.abc import Callable
import math

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy, first_reached
from mecl_jax.evaluation.predictions import Predicted, check_same_exits, check_validation
from mecl_jax.evaluation.rules import Rule, confidence_of

BUDGETS = range(1, 40)  # MSDNet's p
SHARED = 100  # thresholds of a sweep
CANDIDATES = 30  # thresholds of an exit that has its own; more of them fit the noise
TOLERANCE = 1e-9  # of accuracies, far below one example: 0.9 - 0.005 is not quite 0.895
HALVINGS = 24  # of the range of prices, on a logarithmic scale
PRICES = (1e-6, 1e3)  # accuracy that is given for the cost of the last exit
SWEPT_PRICES = np.geomspace(1, 2e-3, 16)  # accuracy for what lies between the first and last cost

Value = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of accuracy and cost, shares


def budgeted(rule: Rule, validation: Predicted) -> list[Policy]:
  """The 39 policies of MSDNet's budgeted batch: cheap to dear.

  For p = 1, .., 39 and r = p / 20, exit k = 1, .., K is to take the share q_k, which is in
  proportion to r^k: its threshold is the confidence of the floor(n q_k)-th most confident of the
  examples that have not left before. That number is exact, of whole numbers, where floats would
  make 0 of 49 * (1 / 49). If it is 0 nobody leaves at k, and if fewer than it are there all of
  those do. Equal confidences leave together, so that ties can take more than their share: with
  `patience` all examples tie at the first exit, and leave there in all 39.

  Returns:
    39 policies; the later exits take the more, the larger p.

  References:
    Huang et al., "Multi-Scale Dense Networks", ICLR 2018, arXiv 1703.09844.
  """
  check_validation(validation)
  confidence = confidence_of(validation, rule)
  counts = (_budget(p, *confidence.shape) for p in BUDGETS)
  return [Policy(rule, _fill(confidence, count)) for count in counts]


def shared(rule: Rule, validation: Predicted, number: int = SHARED) -> list[Policy]:
  """One threshold for all exits, swept over confidences that occur at the early exits.

  Args:
    rule: that is to have thresholds.
    validation: the predictions that they come from.
    number: of quantiles, evenly from the smallest confidence, at which all leave at the first
      exit, to the largest; equal ones count once.

  Returns:
    a policy each, from all leave at once to, besides, nobody leaves early.
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
  """One threshold per exit: a cheap policy that loses no more than so much accuracy.

  The start is the cheapest of `shared` that keeps the accuracy. From there the thresholds of one
  exit after the other are set to the best of `number`, given those of the other exits, until none
  moves. Best is the largest accuracy - price * cost; the price, one for all exits, is the
  highest with which the accuracy is kept, found by bisection. Of all that kept it the cheapest goes
  through the exits again, where best is now the cheapest that keeps the accuracy: that spends what
  is left of the drop. So it is never dearer than the start; it need not be the cheapest of all.

  Args:
    rule: that is to have thresholds.
    validation: the predictions that they come from.
    costs: float [exits], of a sample that leaves there, in any unit (see `dynamic_macs`).
    max_accuracy_drop: share of the validation examples, against the final exit.
    number: of quantiles, evenly, of the confidences of an exit: its candidates. The more there are,
      the better they fit the validation examples alone, and the more accuracy is lost on others.

  Raises:
    UserError: the drop is negative, or the costs are of another number of exits.
  """
  if not max_accuracy_drop >= 0:
    raise UserError(f'max_accuracy_drop is {max_accuracy_drop}; it is a share, from 0 on')
  search = _search(rule, validation, costs, number)
  least = search.right[:, -1].mean() - max_accuracy_drop - TOLERANCE

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
  """One threshold per exit: an accurate policy whose mean cost is at most `target`.

  Of `shared` and `per_exit_sweep` the most accurate that keeps to it is the start, from which the
  thresholds are set, one exit after the other, to the best that keep to it, until none moves.

  Args:
    rule, validation, costs: as of `per_exit`, and so are the errors.
    target: in the unit of the costs; if no start keeps to it, the policy does not either.
  """
  search = _search(rule, validation, costs, CANDIDATES)
  most = target / np.max(costs) * (1 + TOLERANCE)

  def accuracy_within(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
    return np.where(cost <= most, accuracy, -np.inf)

  starts = _shared(rule, search.confidence, SHARED) + per_exit_sweep(rule, validation, costs)
  values = [accuracy_within(*search.measure(policy.thresholds)) for policy in starts]
  return Policy(rule, search.climb(starts[int(np.argmax(values))].thresholds, accuracy_within))


def per_exit_sweep(rule: Rule, validation: Predicted, costs: np.ndarray) -> list[Policy]:
  """One threshold per exit, for one price of the costs after the other.

  For every price, the best of `shared` by accuracy - price * cost is climbed from as in `per_exit`.

  Args:
    rule, validation, costs: as of `per_exit`, and so are the errors.

  Returns:
    the policies of 16 prices; one that several have is there once.
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
  """Accuracy less the cost at a price."""
  return lambda accuracy, cost: accuracy - price * cost


def _search(rule: Rule, validation: Predicted, costs: np.ndarray, number: int) -> '_Search':
  check_validation(validation)
  check_same_exits('costs', len(costs), validation.exits)
  confidence, right = confidence_of(validation, rule), validation.right()
  return _Search(confidence, right, np.asarray(costs, np.float64), number)


class _Search:
  """What thresholds are worth, and the best one of an exit given those of the others.

  Args:
    confidence: [N, exits].
    right: bool [N, exits].
    costs: [exits]; within, as shares of the largest.
    number: of quantiles that are candidates at each exit.
  """

  def __init__(self, confidence: np.ndarray, right: np.ndarray, costs: np.ndarray, number: int):
    self.confidence, self.right, self.costs = confidence, right, costs / costs.max()
    self.falling = np.asfortranarray(np.argsort(-confidence, axis=0, kind='stable'))
    self.candidates = [_candidates(of_exit, number) for of_exit in confidence.T]

  def measure(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean accuracy and cost, scalars."""
    return self._worth(first_reached(self.confidence, thresholds))

  def _worth(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same where examples leave at `at`, int [N]."""
    return self.right[np.arange(len(at)), at].mean(), self.costs[at].mean()

  def climb(self, thresholds: np.ndarray, value: Value) -> np.ndarray:
    """Sets threshold after threshold to the best by `value(accuracy, cost)` until none moves."""
    thresholds, now = thresholds.copy(), value(*self.measure(thresholds))
    before: float | np.ndarray = -np.inf
    while now > before + TOLERANCE:
      for k in range(len(thresholds)):
        thresholds[k] = self._best(k, thresholds, value)
      before, now = now, value(*self.measure(thresholds))
    return thresholds

  def _best(self, k: int, thresholds: np.ndarray, value: Value) -> float:
    """The best candidate for exit k; its present threshold, if no other is better."""
    n = len(self.confidence)
    before = first_reached(self.confidence[:, : k + 1], thresholds[:k])
    later = k + 1 + first_reached(self.confidence[:, k + 1 :], thresholds[k + 1 :])
    reached = before == k
    accuracy, cost = self._worth(np.where(reached, later, before))  # if nobody left here
    here = self.falling[:, k][reached[self.falling[:, k]]]
    later = later[here]
    # What the first 0, 1, 2, .. change by leaving here, and how many do at every candidate.
    gained = np.append(0, np.cumsum(self.right[here, k].astype(int) - self.right[here, later]))
    saved = np.append(0, np.cumsum(self.costs[later] - self.costs[k]))
    candidates = np.append(thresholds[k], self.candidates[k])
    leaving = np.searchsorted(-self.confidence[here, k], -candidates, side='right')
    values = value(accuracy + gained[leaving] / n, cost - saved[leaving] / n)
    return float(candidates[values.argmax()])


def _shared(rule: Rule, confidence: np.ndarray, number: int) -> list[Policy]:
  early = confidence[:, :-1]
  return [Policy(rule, np.full(early.shape[1], value)) for value in _candidates(early, number)]


def _candidates(confidence: np.ndarray, number: int) -> np.ndarray:
  """Quantiles that occur, rising and each once, and infinity."""
  if not confidence.size:
    return np.array([np.inf])
  shares = np.linspace(0, 1, number)
  return np.append(np.unique(np.quantile(confidence, shares, method='inverted_cdf')), np.inf)


def _budget(p: int, n: int, exits: int) -> list[int]:
  """floor(n q_k) of every exit but the last."""
  parts = [p**k * 20 ** (exits - k) for k in range(1, exits + 1)]
  whole = sum(parts)
  return [n * part // whole for part in parts[:-1]]


def _fill(confidence: np.ndarray, counts: list[int]) -> np.ndarray:
  """Thresholds [exits - 1] with which so many leave at every exit, ties besides."""
  thresholds = np.full(len(counts), np.inf)
  here = np.ones(len(confidence), bool)
  for k, count in enumerate(counts):
    waiting = confidence[here, k]
    count = min(count, len(waiting))
    if count:
      thresholds[k] = np.partition(waiting, len(waiting) - count)[len(waiting) - count]
    here &= confidence[:, k] < thresholds[k]
  return thresholds
