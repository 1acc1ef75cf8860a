"""Exit rules: how confident an exit is in its prediction, from logits alone.

To add a rule, write a function of `ExitLogits` and name it in `CONFIDENCES`. A rule returns the
confidence of the latest exit that was reached; it must be finite, and of order 1 or less, since
confidences that differ by less than `NEAR` are compared again in full precision.
`Rule.confidence` applies the rule to one exit after the other, so that simulation on saved logits
and real early exit use the same function.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any, Protocol
import weakref

import numpy as np

from mecl_jax.errors import choose
from mecl_jax.evaluation.metrics import checked, log_softmax
from mecl_jax.evaluation.predictions import Predicted, check_same_exits, check_validation

ByExit = Sequence[np.ndarray]  # logits of the exits so far, earliest first, [N, classes] each
NEAR = 1e-9  # difference of confidences, far above the rounding of plain numbers against NumPy


class ExitLogits(Protocol):
  """What a rule may compute with, for many examples or for one.

  A value is an array [N] for many examples and a number for one. A rule combines values by Python
  operators and these methods, so that one function serves both.
  """

  def predicted(self) -> list[Any]:
    """Returns the predicted class at each exit so far, earliest first."""

  def exp(self, value: Any) -> Any:
    """Returns the exponential."""

  def sigmoid(self, value: Any) -> Any:
    """Returns 1 / (1 + exp(-value))."""

  def two_largest(self) -> tuple[Any, Any]:
    """Returns the log probabilities of the two likeliest classes at the last exit."""

  def total(self, function: Callable[[Any], Any]) -> Any:
    """Returns the sum over the classes of a function of the log probability at the last exit."""


def max_probability(last: ExitLogits) -> Any:
  """Returns the largest probability, in (0, 1].

  References:
    Huang et al., "Multi-Scale Dense Networks", ICLR 2018, arXiv 1703.09844.
  """
  return last.exp(last.two_largest()[0])


def entropy(last: ExitLogits) -> Any:
  """Returns minus the entropy in nats, at most 0.

  References:
    Teerapittayanon et al., "BranchyNet", ICPR 2016, arXiv 1709.01686.
  """
  return last.total(lambda log_p: last.exp(log_p) * log_p)


def margin(last: ExitLogits) -> Any:
  """Returns the largest probability minus the second largest, in [0, 1]."""
  first, second = last.two_largest()
  return last.exp(first) - last.exp(second)


def patience(last: ExitLogits) -> Any:
  """Returns how many exits in a row, the last one included, predict the class of the last one.

  The threshold is a count t: t exits agree. The patience of the paper counts the agreements between
  them, so it is t - 1.

  References:
    Zhou et al., "BERT Loses Patience", NeurIPS 2020, arXiv 2006.04152.
  """
  predicted, count, same = last.predicted(), 0.0, True
  for earlier in reversed(predicted):
    same = same & (earlier == predicted[-1])
    count = count + same
  return count


PATIENCE = 'patience'
CONFIDENCES: dict[str, Callable[[ExitLogits], Any]] = {
  'max_probability': max_probability,
  'entropy': entropy,
  'margin': margin,
  PATIENCE: patience,
}
GATE = 'gate'
# Features of new gates. A fitted gate names its own, so a longer list leaves saved gates valid.
GATE_FEATURES = ('max_probability', 'entropy', 'margin', PATIENCE)
RULES = (*CONFIDENCES, GATE)
# All images stop at one exit, whatever its confidence; see `Policy.fixed_exit`. The confidence is
# that of max_probability, so that images can be sorted by it.
FIXED = 'fixed'


@dataclasses.dataclass(frozen=True)
class Rule:
  """An exit rule with its fitted coefficients, if it has any; see `fit_rule`.

  Attributes:
    name: one of `RULES`, or `FIXED`.
    features: names of the confidences that the gate combines; empty for other rules.
    coefficients: of the gate, for each exit one per feature and, last, the intercept; empty for
      other rules.

  Raises:
    UserError: no rule has this name.

  Examples:
    >>> logits = np.log([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]])  # one image, two exits
    >>> Rule('max_probability').confidence(logits).round(3).tolist()
    [[0.5, 0.8]]
  """

  name: str
  features: tuple[str, ...] = ()
  coefficients: tuple[tuple[float, ...], ...] = ()

  def __post_init__(self):
    choose('exit rule', self.name, (*RULES, FIXED))

  def confidence(self, logits: np.ndarray) -> np.ndarray:
    """Computes the confidence of every exit.

    Args:
      logits: float [N, exits, classes], or of the first exits only.

    Returns:
      float64 [N, exits]. The value of an example at an exit depends only on its own logits up to
      that exit, to the last bit.

    Raises:
      UserError: a logit is not a finite number, or the gate was fitted for fewer exits.
    """
    by_exit = list(np.moveaxis(checked(logits), 1, 0))
    exits = range(1, len(by_exit) + 1)
    return np.stack([self._of_last(ManyExamples(by_exit[:k]), k) for k in exits], axis=1)

  def reaches(self, by_exit: ByExit, threshold: float) -> np.ndarray:
    """Compares the confidence of the last exit so far with a threshold.

    Args:
      by_exit: float [N, classes] for each exit so far, earliest first.
      threshold: least confidence that is enough.

    Returns:
      bool [N], equal to `confidence(logits)[:, last exit] >= threshold`.

    Raises:
      UserError: as `confidence`; only logits of the last exit are checked.
    """
    checked(by_exit[-1])
    return self._of_last(ManyExamples(by_exit), len(by_exit)) >= threshold

  def one_reaches(self, by_exit: ByExit, threshold: float) -> bool:
    """Returns what `reaches` returns for a single example, several times as fast.

    It computes with plain numbers. Where these are too close to the threshold, or not finite, the
    arrays of `reaches` decide.
    """
    one = OneExample(by_exit)
    confidence = self._of_last(one, len(by_exit)) if one.finite else math.nan
    if abs(confidence - threshold) > NEAR:
      return confidence > threshold
    return bool(self.reaches(by_exit, threshold)[0])

  def _of_last(self, last: ExitLogits, exits: int) -> Any:
    """Returns the confidence of the last of so many exits."""
    if self.name == FIXED:
      return max_probability(last)
    if self.name != GATE:
      return CONFIDENCES[self.name](last)
    if exits > len(self.coefficients):
      check_same_exits('a gate', len(self.coefficients), exits)
    *coefficients, log_odds = self.coefficients[exits - 1]
    # Term by term: a matrix product rounds differently for another number of examples.
    for name, coefficient in zip(self.features, coefficients, strict=True):
      log_odds = log_odds + coefficient * CONFIDENCES[name](last)
    return last.sigmoid(log_odds)


class ManyExamples:
  """`ExitLogits` of N examples: values are float64 arrays [N]."""

  exp = staticmethod(np.exp)

  def __init__(self, by_exit: ByExit):
    self._by_exit = by_exit
    # In one piece: NumPy may add up differently where numbers do not lie side by side.
    self._log_p = log_softmax(np.ascontiguousarray(by_exit[-1]))

  def predicted(self) -> list[np.ndarray]:
    return [logits.argmax(axis=-1) for logits in self._by_exit]

  def sigmoid(self, value: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -value))

  def two_largest(self) -> tuple[np.ndarray, np.ndarray]:
    second, first = np.partition(self._log_p, -2)[:, -2:].T
    return first, second

  def total(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return function(self._log_p).sum(axis=-1)


class OneExample:
  """`ExitLogits` of a single example: values are plain numbers.

  Between two segments of a network the processor's caches are cold, and every call of NumPy costs
  microseconds.
  """

  exp = staticmethod(math.exp)

  def __init__(self, by_exit: ByExit):
    self._by_exit = by_exit
    logits = by_exit[-1][0].tolist()
    self.finite = math.isfinite(sum(logits))
    top = max(logits)
    odds = [math.exp(logit - top) for logit in logits]
    log_sum = top + math.log(sum(odds))
    self._log_p = [logit - log_sum for logit in logits]

  def predicted(self) -> list[int]:
    return [int(logits.argmax()) for logits in self._by_exit]

  def sigmoid(self, value: float) -> float:
    return (1 + math.tanh(value / 2)) / 2

  def two_largest(self) -> tuple[float, float]:
    second, first = sorted(self._log_p)[-2:]
    return first, second

  def total(self, function: Callable[[float], float]) -> float:
    return sum([function(log_p) for log_p in self._log_p])


def fit_rule(name: str, validation: Predicted) -> Rule:
  """Makes a rule by its name, and fits the gate.

  The gate is a logistic regression for each exit. It predicts from `GATE_FEATURES` of that exit
  whether the exit is right; its confidence is the predicted probability. Where an exit is right on
  all examples or on none, that probability is (right + 1) / (N + 2) for every example.

  Args:
    name: one of `RULES`.
    validation: predictions of the validation split.

  Returns:
    the rule.

  Raises:
    UserError: no rule has this name, the split is not the validation split, or a logit is not a
      finite number.
  """
  check_validation(validation)
  if choose('exit rule', name, RULES) != GATE:
    return Rule(name)
  features = np.stack([confidence_of(validation, Rule(f)) for f in GATE_FEATURES], axis=-1)
  right = validation.right()
  exits = range(validation.exits)
  return Rule(GATE, GATE_FEATURES, tuple(_fit_gate(features[:, k], right[:, k]) for k in exits))


# All policies of a rule need the same confidences of a split; they are kept as long as the split.
_known: weakref.WeakKeyDictionary[Predicted, dict[Rule, np.ndarray]] = weakref.WeakKeyDictionary()


def confidence_of(split: Predicted, rule: Rule) -> np.ndarray:
  """Returns `rule.confidence(split.logits)`, computed once per split and rule, read-only."""
  known = _known.setdefault(split, {})
  if rule not in known:
    known[rule] = np.asfortranarray(rule.confidence(split.logits))  # policies read exit by exit
    known[rule].flags.writeable = False
  return known[rule]


def _fit_gate(features: np.ndarray, right: np.ndarray) -> tuple[float, ...]:
  """Returns coefficients and intercept from features [N, F] and whether an exit is right, [N]."""
  if right.all() or not right.any():
    return (*[0.0] * features.shape[1], float(np.log((right.sum() + 1) / ((~right).sum() + 1))))
  # Imported here: it takes a second, and only the gate needs it.
  from sklearn.linear_model import LogisticRegression
  from sklearn.preprocessing import StandardScaler

  scaler = StandardScaler().fit(features)
  # Newton's method: exact and fast with so few coefficients.
  model = LogisticRegression(solver='newton-cholesky', tol=1e-9)
  model.fit(scaler.transform(features), right)
  coefficients = model.coef_[0] / scaler.scale_
  return (*coefficients.tolist(), float(model.intercept_[0] - coefficients @ scaler.mean_))
