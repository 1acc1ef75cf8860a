"""Exit rules: how confident an exit is, from the logits of the exits so far."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

import numpy as np

from mecl_jax.deploy.runtime.errors import BundleError

CONFIDENCES = ('max_probability', 'entropy', 'margin', 'patience')
FEW = 100  # classes up to which plain numbers are faster than arrays for one image
NEAR = 1e-9  # difference of confidences, far above the rounding of plain numbers against NumPy


class Policy:
  """An exit rule with its thresholds.

  Args:
    fields: of a policy in bundle.json.

  Attributes:
    last: number of the exit at which all images leave that have not left before, from 0.
  """

  def __init__(self, fields: dict[str, Any]):
    self._rule, self._features = fields['rule'], fields['features']
    self._coefficients = fields['coefficients']
    self._thresholds = [float(threshold) for threshold in fields['thresholds']]
    self._decides, self.last = self._rule != 'fixed', len(self._thresholds)
    if not self._decides and -math.inf in self._thresholds:
      self.last = self._thresholds.index(-math.inf)

  def leaving(self, by_exit: list[np.ndarray], rows: Any = 0) -> np.ndarray:
    """Finds the images that leave now.

    Args:
      by_exit: float32 [n, classes] for each exit so far, earliest first.
      rows: int [n], the numbers of these images in their batch; see `benchmark`.

    Returns:
      bool [n].

    Raises:
      BundleError: a logit that decides is not a finite number.
    """
    number, logits = len(by_exit) - 1, by_exit[-1]
    if number == self.last or not self._decides:
      return np.full(len(logits), number == self.last)
    if len(logits) == 1 and logits.size <= FEW:  # near the threshold, arrays decide
      confidence = self._confidence_of_one(number, by_exit)
      if abs(confidence - self._thresholds[number]) > NEAR:
        return np.array([confidence > self._thresholds[number]])
    confidence = self._combined(_of_many, number, by_exit, log_softmax(finite(logits)))
    if self._rule == 'gate':
      confidence = np.exp(-np.logaddexp(0, -confidence))
    return confidence >= self._thresholds[number]

  def _confidence_of_one(self, number: int, by_exit: list[np.ndarray]) -> float:
    logits = by_exit[-1][0].tolist()
    if not math.isfinite(sum(logits)):
      return math.nan
    top = max(logits)
    log_sum = top + math.log(sum([math.exp(logit - top) for logit in logits]))
    value = self._combined(_of_one, number, by_exit, [logit - log_sum for logit in logits])
    return (1 + math.tanh(value / 2)) / 2 if self._rule == 'gate' else value

  def _combined(self, confidence: Callable[..., Any], number: int, *values: Any) -> Any:
    """Returns the confidence by the rule; for a gate, its log odds."""
    if self._rule != 'gate':
      return confidence(self._rule, *values)
    *coefficients, log_odds = self._coefficients[number]
    for name, coefficient in zip(self._features, coefficients):
      log_odds = log_odds + coefficient * confidence(name, *values)
    return log_odds


def sure_policy(threshold: float, exits: int) -> Policy:
  """Returns the policy by which images leave at any exit whose largest probability is enough.

  Args:
    threshold: of the probability, which no temperature scales; infinity: all images go to the end.
    exits: number of exits.
  """
  rule = 'max_probability' if threshold < math.inf else 'fixed'
  thresholds = [threshold] * (exits - 1)
  return Policy({'rule': rule, 'features': [], 'coefficients': [], 'thresholds': thresholds})


def _of_many(name: str, by_exit: list[np.ndarray], log_p: Any) -> Any:
  """Returns a confidence at the last exit so far, float64 [N], from log_p [N, classes]."""
  if name == 'patience':
    return _patience([logits.argmax(axis=-1) for logits in by_exit])
  if name == 'entropy':  # minus the entropy, in nats
    return (np.exp(log_p) * log_p).sum(axis=-1)
  second, first = np.partition(log_p, -2)[:, -2:].T
  return np.exp(first) if name == 'max_probability' else np.exp(first) - np.exp(second)


def _of_one(name: str, by_exit: list[np.ndarray], log_p: Any) -> Any:
  """Returns the same for one image in plain numbers, which is several times as fast."""
  if name == 'patience':
    return _patience([int(logits.argmax()) for logits in by_exit])
  if name == 'entropy':
    return sum([math.exp(x) * x for x in log_p])
  second, first = sorted(log_p)[-2:]
  return math.exp(first) if name == 'max_probability' else math.exp(first) - math.exp(second)


def _patience(predicted: list[Any]) -> Any:
  """Returns how many exits in a row, the last one included, predict the class of the last one."""
  count, same = 0.0, True
  for earlier in reversed(predicted):
    same = same & (earlier == predicted[-1])
    count = count + same
  return count


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Returns log probabilities, float64 [.., classes]."""
  logits = np.ascontiguousarray(logits).astype(np.float64)  # the order of sums depends on strides
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def top_probability(logits: np.ndarray, temperature: Any) -> Any:
  """Returns the largest probability, float64 [..], of logits [.., classes] over temperatures."""
  below = logits.max(axis=-1, keepdims=True) - logits.astype(np.float64)
  return 1 / np.exp(-below / np.expand_dims(temperature, -1)).sum(axis=-1)


def top_class(logits: np.ndarray, temperature: float) -> tuple[int, float]:
  """Returns the likeliest class of one image, from logits [classes], and its probability."""
  label = int(logits.argmax())
  if logits.size > FEW:
    return label, float(top_probability(logits, temperature))
  numbers = logits.tolist()
  return label, 1 / sum([math.exp((each - numbers[label]) / temperature) for each in numbers])


def finite(logits: np.ndarray) -> np.ndarray:
  """Returns logits [N, classes] if all are finite, else raises BundleError."""
  is_finite = np.isfinite(logits)
  if not is_finite.all():
    bad = f'{(~is_finite).any(axis=-1).sum()} of {len(logits)} images'
    raise BundleError(f'{bad} have logits that are not finite: export the network as float32')
  return logits
