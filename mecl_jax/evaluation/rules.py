"""Exit rules: how sure every exit is of every example; the larger, the sooner it may leave.

All are functions of logits [N, exits, classes] and return float64 [N, exits]. None knows a label.
What is said of an example at an exit depends, to the last bit, on its own logits up to that exit:
asked stage by stage, for any part of a batch, a rule says the same as of all logits at once.
"""

from collections.abc import Callable
import dataclasses
import weakref

import numpy as np

from mecl_jax.errors import choose
from mecl_jax.evaluation.metrics import checked, log_softmax
from mecl_jax.evaluation.predictions import Predicted, check_same_exits, check_validation

Learnt = tuple[tuple[float, ...], ...]  # what a rule has learnt of every exit


def max_probability(logits: np.ndarray) -> np.ndarray:
  """The largest probability, in (0, 1]."""
  return _max_probability(_log_probabilities(logits))


def entropy(logits: np.ndarray) -> np.ndarray:
  """Minus the entropy in nats, at most 0 (BranchyNet, Teerapittayanon et al. 2016, 1709.01686)."""
  return _negated_entropy(_log_probabilities(logits))


def margin(logits: np.ndarray) -> np.ndarray:
  """The largest probability less the second, in [0, 1]."""
  return _margin(_log_probabilities(logits))


def patience(logits: np.ndarray) -> np.ndarray:
  """How many exits in a row, this one the last of them, predict the class that this one does.

  The threshold is a count t: t exits agree. PABEE (Zhou et al., NeurIPS 2020, arXiv 2006.04152)
  counts the agreements between them, so that its patience is t - 1.
  """
  predicted = checked(logits).argmax(axis=-1)
  at = np.arange(predicted.shape[1])
  changed = np.ones(predicted.shape, bool)
  changed[:, 1:] = predicted[:, 1:] != predicted[:, :-1]
  since = np.maximum.accumulate(np.where(changed, at, 0), axis=1)
  return (at - since + 1).astype(np.float64)


PATIENCE = 'patience'
MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  'max_probability': max_probability,
  'entropy': entropy,
  'margin': margin,
  PATIENCE: patience,
}
GATE = 'gate'
RULES = (*MEASURES, GATE)


@dataclasses.dataclass(frozen=True)
class Rule:
  """A rule with what it has learnt; see `fit_rule`.

  Attributes:
    name: one of `RULES`.
    learnt: of the gate, per exit the weights of the four measures and, last, the bias; else empty.
  """

  name: str
  learnt: Learnt = ()

  def __post_init__(self):
    choose('exit rule', self.name, RULES)

  def confidence(self, logits: np.ndarray) -> np.ndarray:
    """How sure every exit is, float64 [N, exits].

    Args:
      logits: [N, exits, classes], or of the first exits only.

    Raises:
      UserError: a logit is not a finite number, or the gate knows fewer exits.
    """
    if self.name == GATE:
      return _gate(measures(logits), self.learnt)
    return MEASURES[self.name](logits)


def fit_rule(name: str, validation: Predicted) -> Rule:
  """Makes a rule by name; the gate learns, the others have nothing to learn.

  The gate is a logistic regression per exit, on the four measures of that exit, of whether it is
  right, and its confidence the probability of that. An exit that is always right, or never, gives
  it nothing to tell examples apart by: its confidence is (right + 1) / (N + 2) of all of them.

  Raises:
    UserError: no such rule, not the validation split, or a logit that is not a finite number.
  """
  check_validation(validation)
  if choose('exit rule', name, RULES) != GATE:
    return Rule(name)
  seen, right = _measures_of(validation), validation.right()
  return Rule(GATE, tuple(_fit(seen[:, k], right[:, k]) for k in range(validation.exits)))


# What was said of a split, kept as long as the split is: every policy of a rule asks for the same.
_said: weakref.WeakKeyDictionary[Predicted, dict[Rule, np.ndarray]] = weakref.WeakKeyDictionary()


def confidence_of(split: Predicted, rule: Rule) -> np.ndarray:
  """`rule.confidence(split.logits)`, computed once however often it is asked for; read only."""
  kept = _said.setdefault(split, {})
  if rule not in kept:
    if rule.name == GATE:
      said = {rule: _gate(_measures_of(split), rule.learnt)}
    else:
      together = measures(split.logits)
      said = {Rule(name): together[..., k] for k, name in enumerate(MEASURES)}
    for key, confidence in said.items():
      kept[key] = np.asfortranarray(confidence)  # policies go through it exit by exit
      kept[key].flags.writeable = False
  return kept[rule]


def _measures_of(split: Predicted) -> np.ndarray:
  """`measures` of a split, computed once."""
  said = np.stack([confidence_of(split, Rule(name)) for name in MEASURES], axis=-1)
  return np.ascontiguousarray(said)


def measures(logits: np.ndarray) -> np.ndarray:
  """All of `MEASURES`, float64 [N, exits, 4] in their order."""
  log_p = _log_probabilities(logits)
  said = (_max_probability(log_p), _negated_entropy(log_p), _margin(log_p), patience(logits))
  return np.stack(said, axis=-1)


def _fit(seen: np.ndarray, right: np.ndarray) -> tuple[float, ...]:
  """Weights and bias from measures [N, 4] and bool [N]."""
  if right.all() or not right.any():
    return (*[0.0] * seen.shape[1], float(np.log((right.sum() + 1) / ((~right).sum() + 1))))
  # Here: a second of start-up that only this rule needs.
  from sklearn.linear_model import LogisticRegression
  from sklearn.preprocessing import StandardScaler

  scaler = StandardScaler().fit(seen)
  # Newton's method: exact and at once with so few weights.
  model = LogisticRegression(solver='newton-cholesky', tol=1e-9).fit(scaler.transform(seen), right)
  weights = model.coef_[0] / scaler.scale_
  return (*weights.tolist(), float(model.intercept_[0] - weights @ scaler.mean_))


def _gate(seen: np.ndarray, learnt: Learnt) -> np.ndarray:
  exits = seen.shape[1]
  if exits > len(learnt):
    check_same_exits('a gate', len(learnt), exits)
  *weights, bias = np.array(learnt[:exits]).T
  # Term by term: a matrix product rounds otherwise for another number of examples.
  odds = sum((w * seen[..., k] for k, w in enumerate(weights)), start=bias)
  return np.exp(-np.logaddexp(0, -odds))


def _max_probability(log_p: np.ndarray) -> np.ndarray:
  return np.exp(log_p.max(axis=-1))


def _negated_entropy(log_p: np.ndarray) -> np.ndarray:
  return (np.exp(log_p) * log_p).sum(axis=-1)


def _margin(log_p: np.ndarray) -> np.ndarray:
  second, first = np.moveaxis(np.partition(log_p, (-2, -1), axis=-1)[..., -2:], -1, 0)
  return np.exp(first) - np.exp(second)


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
  """Float64, in one piece: NumPy may sum and exponentiate otherwise what lies scattered."""
  return log_softmax(np.ascontiguousarray(logits))
