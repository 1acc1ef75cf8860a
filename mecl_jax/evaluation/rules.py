"""Exit rules: how confident an exit is in its prediction, from logits alone.

To add a rule, write a function of `ExitLogits` in the file of its task in `tasks/`, and name it in
the `confidences` there. A rule returns the confidence of the latest exit that was reached. It must
be finite, or minus infinity at an exit where no example leaves by it. Confidences that differ by
less than `NEAR` are compared again in full precision. `Rule.confidence` applies the rule to one
exit after the other, so that simulation on saved logits and real early exit use the same function.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any
import weakref

import numpy as np

from mecl_jax.errors import choose
from mecl_jax.evaluation.metrics import checked, log_softmax
from mecl_jax.evaluation.predictions import Predicted, check_same_exits, check_validation
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS, classification
from mecl_jax.evaluation.tasks.task import Confidence, ExitLogits

ByExit = Sequence[np.ndarray]  # logits of the exits so far, earliest first, [N, classes] each
NEAR = 1e-9  # difference of confidences, far above the rounding of plain numbers against NumPy

GATE, PATIENCE = classification.GATE, classification.PATIENCE
# Those of classification; bundles for devices have them too.
CONFIDENCES = dict(CLASSIFICATION.confidences)
RULES = CLASSIFICATION.rules
# Those of all tasks: fitted rules, and confidences that a rule may have or combine.
LEARNED = {task.learned.name: task.learned for task in TASKS.values() if task.learned}
ALL_RULES = tuple(rule for task in TASKS.values() for rule in task.rules)
_ALL_CONFIDENCES = {
  name: confidence
  for task in TASKS.values()
  for name, confidence in {**task.confidences, **task.hidden}.items()
}
GATE_FEATURES = LEARNED[GATE].features
# All images stop at one exit, whatever its confidence; see `Policy.fixed_exit`. The confidence is
# that of max_probability, so that images can be sorted by it.
FIXED = 'fixed'


@dataclasses.dataclass(frozen=True)
class Rule:
  """An exit rule with its fitted coefficients, if it has any; see `fit_rule`.

  Attributes:
    name: one of `ALL_RULES`, or `FIXED`.
    features: names of the confidences that a fitted rule combines; empty for other rules.
    coefficients: of a fitted rule, for each exit one per feature and, last, the intercept; empty
      for other rules.

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
    choose('exit rule', self.name, (*dict.fromkeys((*RULES, *ALL_RULES)), FIXED))

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
    exits = enumerate(_exits_of(logits), start=1)
    return np.stack([self._of_last(last, number) for number, last in exits], axis=1)

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
    confidence = float(self._of_last(one, len(by_exit))) if one.finite else math.nan
    if abs(confidence - threshold) > NEAR:
      return confidence > threshold
    return bool(self.reaches(by_exit, threshold)[0])

  def _of_last(self, last: ExitLogits, exits: int) -> Any:
    """Returns the confidence of the last of so many exits."""
    if self.name == FIXED:
      return classification.max_probability(last)
    if self.name not in LEARNED:
      return confidence_named(self.name)(last)
    if exits > len(self.coefficients):
      check_same_exits('a gate', len(self.coefficients), exits)
    *coefficients, total = self.coefficients[exits - 1]
    # Term by term: a matrix product rounds differently for another number of examples.
    for name, coefficient in zip(self.features, coefficients, strict=True):
      total = total + coefficient * confidence_named(name)(last)
    return last.sigmoid(total) if LEARNED[self.name].is_probability else total


def is_confidence(name: str) -> bool:
  """Returns whether there is a confidence of this name."""
  return name in CONFIDENCES or name in _ALL_CONFIDENCES


def confidence_named(name: str) -> Confidence:
  """Returns the confidence of this name; raises KeyError if there is none."""
  return CONFIDENCES[name] if name in CONFIDENCES else _ALL_CONFIDENCES[name]


class ManyExamples:
  """`ExitLogits` of N examples: values are float64 arrays [N]."""

  exp = staticmethod(np.exp)

  def __init__(self, by_exit: ByExit):
    self._by_exit = by_exit
    # In one piece: NumPy may add up differently where numbers do not lie side by side.
    self._log_p = log_softmax(np.ascontiguousarray(by_exit[-1]))

  def predicted(self) -> list[np.ndarray]:
    return [logits.argmax(axis=-1) for logits in self._by_exit]

  def outputs(self) -> list[np.ndarray]:
    return [np.ascontiguousarray(each, np.float64) for each in self._by_exit]

  def sigmoid(self, value: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -value))

  def largest(self) -> np.ndarray:
    return self._log_p.max(axis=-1)

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

  def outputs(self) -> list[np.ndarray]:
    return [each[0].astype(np.float64) for each in self._by_exit]

  def sigmoid(self, value: float) -> float:
    return (1 + math.tanh(value / 2)) / 2

  def largest(self) -> float:
    return max(self._log_p)

  def two_largest(self) -> tuple[float, float]:
    second, first = sorted(self._log_p)[-2:]
    return first, second

  def total(self, function: Callable[[float], float]) -> float:
    return sum([function(log_p) for log_p in self._log_p])


def fit_rule(name: str, validation: Predicted) -> Rule:
  """Makes a rule by its name, and fits it if it is learned.

  The gate of classification is a logistic regression for each exit. It predicts from
  `GATE_FEATURES` of that exit whether the exit is right; its confidence is the predicted
  probability. Where an exit is right on all examples or on none, that probability is (right + 1) /
  (N + 2) for every example. Other tasks have their own `Learned` rules.

  Args:
    name: one of the rules of the task of the predictions.
    validation: predictions of the validation split.

  Returns:
    the rule.

  Raises:
    UserError: the task has no rule of this name, the split is not the validation split, or an
      output is not a finite number.
  """
  check_validation(validation)
  task = TASKS[validation.task]
  learned = task.learned
  if choose('exit rule', name, task.rules) not in LEARNED or learned is None:
    return Rule(name)
  names = GATE_FEATURES if name == GATE else learned.features
  by_exit = [
    np.stack([confidence_named(feature)(last) for feature in names], axis=-1)
    for last in _exits_of(validation.logits)
  ]
  quality = validation.quality()
  fitted = (learned.fit(features, quality[:, k]) for k, features in enumerate(by_exit))
  return Rule(name, names, tuple(fitted))


def _exits_of(logits: np.ndarray) -> list[ManyExamples]:
  """Returns what rules compute with at every exit, from logits [N, exits, classes]."""
  by_exit = list(np.moveaxis(checked(logits), 1, 0))
  return [ManyExamples(by_exit[:k]) for k in range(1, len(by_exit) + 1)]


# All policies of a rule need the same confidences of a split; they are kept as long as the split.
_known: weakref.WeakKeyDictionary[Predicted, dict[Rule, np.ndarray]] = weakref.WeakKeyDictionary()


def confidence_of(split: Predicted, rule: Rule) -> np.ndarray:
  """Returns `rule.confidence(split.logits)`, computed once per split and rule, read-only."""
  known = _known.setdefault(split, {})
  if rule not in known:
    known[rule] = np.asfortranarray(rule.confidence(split.logits))  # policies read exit by exit
    known[rule].flags.writeable = False
  return known[rule]
