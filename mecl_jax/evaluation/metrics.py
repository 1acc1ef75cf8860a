"""Metrics of predictions: pure functions of logits and labels.

Functions that return a number take logits [N, classes]. Functions that return values per example
take logits [N, ..., classes] and return [N, ...]. Labels are int [N], and sums are in float64. All
raise UserError if a logit is not a finite number.
"""

import numpy as np

from mecl_jax.errors import UserError

BINS = 15


def checked(logits: np.ndarray) -> np.ndarray:
  """Returns logits [N, ..., classes] if all are finite; argmax would accept others.

  Raises:
    UserError: a logit is NaN or infinite.
  """
  finite = np.isfinite(logits)
  if not finite.all():
    bad = int((~finite).reshape(len(logits), -1).any(axis=1).sum())
    raise UserError(
      f'the logits of {bad} of {len(logits)} examples are not finite; '
      'train again with a lower learning rate, or predict in float32'
    )
  return logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Returns log probabilities, float64 [N, ..., classes]."""
  logits = checked(logits).astype(np.float64)
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns whether the first of the largest logits is the label's, bool [N, ...]."""
  return checked(logits).argmax(axis=-1) == _beside(labels, logits)[..., 0]


def in_top_k(logits: np.ndarray, labels: np.ndarray, k: int = 5) -> np.ndarray:
  """Returns whether fewer than `k` logits are above the label's, bool [N, ...]."""
  of_label = np.take_along_axis(checked(logits), _beside(labels, logits), axis=-1)
  return (logits > of_label).sum(axis=-1) < k


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the negative log likelihood of the label in nats, float64 [N, ...]."""
  return -np.take_along_axis(log_softmax(logits), _beside(labels, logits), axis=-1)[..., 0]


def squared_errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the squared distance of probabilities and one-hot label, float64 [N, ...], 0..2."""
  distance = np.exp(log_softmax(logits))
  of_label = np.take_along_axis(distance, _beside(labels, logits), axis=-1)
  np.put_along_axis(distance, _beside(labels, logits), of_label - 1, axis=-1)
  return (distance**2).sum(axis=-1)


def confidence(logits: np.ndarray) -> np.ndarray:
  """Returns the largest probability, float64 [N, ...] in 1/classes..1."""
  return np.exp(log_softmax(logits).max(axis=-1))


def negated_odds(logits: np.ndarray) -> np.ndarray:
  """Returns minus the summed odds of all other classes against the top one, float64 [N, ...].

  It ranks examples as `confidence` does, but does not round confidences near 1 to the same number.
  """
  logits = checked(logits).astype(np.float64)
  top = logits.argmax(axis=-1)[..., None]
  odds = np.exp(logits - np.take_along_axis(logits, top, axis=-1))
  np.put_along_axis(odds, top, 0, axis=-1)
  return -odds.sum(axis=-1)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the share of examples whose largest logit is the label's, 0..1."""
  return float(correct(logits, labels).mean())


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
  """Returns the share of examples with fewer than `k` logits above the label's, 0..1."""
  return float(in_top_k(logits, labels, k).mean())


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the mean negative log likelihood of the labels, in nats."""
  return float(losses(logits, labels).mean())


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the Brier score, 0..2: the sum over the classes, averaged over the examples.

  This is Brier's own convention. Other authors divide by the number of classes, or count only one
  of two classes.

  References:
    Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review
    78(1), 1950.
  """
  return float(squared_errors(logits, labels).mean())


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
  """Returns the bin of each confidence in 0..1, int of the same shape; bins contain upper edges."""
  return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def auroc(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the area under the ROC curve of confidence as a test of correctness, 0..1.

  It is the probability that a right example has a higher confidence than a wrong one, where ties
  count half: 0.5 is chance. It is nan where all examples are right or all are wrong.

  References:
    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples
    in Neural Networks", ICLR 2017, arXiv 1610.02136.
  """
  score, right = negated_odds(logits), correct(logits, labels)
  if right.all() or not right.any():
    return float('nan')
  return float(shares_below(score[right], score[~right]).mean())


def shares_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Returns the share of the other scores [M] that is below each score [N], ties by half."""
  others = np.sort(others)
  below, up_to = (np.searchsorted(others, scores, side) for side in ('left', 'right'))
  return (below + up_to) / (2 * len(others))


def _beside(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """Returns labels int [N] as [N, ..., 1], with as many axes as the logits."""
  return labels.astype(np.int64).reshape(-1, *(1,) * (logits.ndim - 1))
