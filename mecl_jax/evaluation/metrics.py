"""What the predictions of an exit are worth: pure functions of logits and labels.

Numbers take logits [N, classes]; values per example take logits [N, ..., classes] and give
[N, ...], so that [N, exits, classes] gives the [N, exits] that `intervals` wants. Labels are
int [N], sums are in float64, and logits that are not finite are a UserError.
"""

import numpy as np

from mecl_jax.errors import UserError

BINS = 15


def checked(logits: np.ndarray) -> np.ndarray:
  """The logits [N, ..., classes] themselves.

  Raises:
    UserError: one of them is NaN or infinite, of which argmax would make a prediction.
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
  """Log probabilities, float64 [..., classes]."""
  logits = checked(logits).astype(np.float64)
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Whether the largest logit is the label's, bool [N, ...]; the first of equal ones counts."""
  return checked(logits).argmax(axis=-1) == _beside(labels, logits)[..., 0]


def in_top_k(logits: np.ndarray, labels: np.ndarray, k: int = 5) -> np.ndarray:
  """Whether fewer than `k` logits are above the label's, bool [N, ...]."""
  of_label = np.take_along_axis(checked(logits), _beside(labels, logits), axis=-1)
  return (logits > of_label).sum(axis=-1) < k


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Negative log likelihood of the label in nats, float64 [N, ...]."""
  return -np.take_along_axis(log_softmax(logits), _beside(labels, logits), axis=-1)[..., 0]


def squared_errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Squared distance of the probabilities from the one-hot label, float64 [N, ...] in 0..2."""
  distance = np.exp(log_softmax(logits))
  of_label = np.take_along_axis(distance, _beside(labels, logits), axis=-1)
  np.put_along_axis(distance, _beside(labels, logits), of_label - 1, axis=-1)
  return (distance**2).sum(axis=-1)


def confidence(logits: np.ndarray) -> np.ndarray:
  """The largest probability, float64 [N, ...] in 1/classes..1."""
  return np.exp(log_softmax(logits).max(axis=-1))


def sureness(logits: np.ndarray) -> np.ndarray:
  """Minus the summed odds of the other classes against the top one, float64 [N, ...], at most 0.

  Ranks as `confidence` does, but does not round very sure predictions all to the same 1.
  """
  logits = checked(logits).astype(np.float64)
  top = logits.argmax(axis=-1)[..., None]
  odds = np.exp(logits - np.take_along_axis(logits, top, axis=-1))
  np.put_along_axis(odds, top, 0, axis=-1)
  return -odds.sum(axis=-1)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
  """Share of examples whose largest logit is the label's, 0..1."""
  return float(correct(logits, labels).mean())


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
  """Share of examples with fewer than `k` logits above the label's, 0..1."""
  return float(in_top_k(logits, labels, k).mean())


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
  """Mean negative log likelihood of the labels, in nats."""
  return float(losses(logits, labels).mean())


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
  """Brier score, 0..2: summed over the classes, averaged over the examples.

  Brier's own convention, which counts both classes where there are two; some divide by the number
  of classes, or count the class 1 alone.

  References:
    Brier, "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review
    78(1), 1950.
  """
  return float(squared_errors(logits, labels).mean())


def ece(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
  """Expected calibration error over equally wide bins of the top probability, 0..1.

  References:
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
  """
  sure = confidence(logits)
  gap = np.bincount(bin_of(sure, bins), correct(logits, labels) - sure, minlength=bins)
  return float(np.abs(gap).sum() / len(labels))  # gap: count * (accuracy - confidence)


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
  """The bin of each confidence in 0..1, int of the same shape; a bin contains its upper edge."""
  return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def auroc(logits: np.ndarray, labels: np.ndarray) -> float:
  """Area under the ROC curve of confidence as a test of correctness, 0..1; 0.5 says nothing.

  The chance that an example that is right is surer than one that is wrong, ties counting half; nan
  where all are right or all are wrong. Temperatures move NLL and ECE, but this hardly.

  References:
    Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples
    in Neural Networks", ICLR 2017, arXiv 1610.02136.
  """
  right = correct(logits, labels)
  return float(weighted_auroc(sureness(logits), right, np.ones(len(right))))


def weighted_auroc(score: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """`auroc` of examples that count more than once or not at all.

  Args:
    score: [N], larger is surer.
    right: bool [N].
    weights: float [..., N], 0 or above.

  Returns:
    float64 [...]; nan where the right ones or the wrong ones have no weight.
  """
  order = np.flatnonzero(right)[np.argsort(score[right], kind='stable')]
  first, last = (np.searchsorted(score[order], score[~right], side) for side in ('left', 'right'))
  # below[..., k]: the weight of the k least sure of the right ones
  below = np.zeros((*weights.shape[:-1], len(order) + 1))
  np.cumsum(weights[..., order], axis=-1, out=below[..., 1:])
  total, of_wrong = below[..., -1], weights[..., ~right]
  surer = total[..., None] - (below[..., first] + below[..., last]) / 2
  with np.errstate(invalid='ignore'):
    return (surer * of_wrong).sum(axis=-1) / (total * of_wrong.sum(axis=-1))


def _beside(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """Labels int [N] as [N, ..., 1] with as many axes as the logits."""
  return labels.astype(np.int64).reshape(-1, *(1,) * (logits.ndim - 1))
