"""The expected calibration error (ECE): a debiased estimate, and an interval that covers.

What is estimated is the ECE over 15 equally wide bins of the confidence, on all images of the kind:
the sum over the bins of |P(right and in the bin) - E[confidence, in the bin]|. It is at most the
calibration error without bins. The ECE of N images, the plug-in estimate, is larger on average,
since noise adds to every bin: for a calibrated exit by about sqrt(bins / N) / 4.
"""

from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.intervals import LEVEL, Interval

DRAWS, HALVINGS = 4000, 14
SURE = 3.5  # standard deviations from which the sign of a gap is taken as known


class Gaps(NamedTuple):
  """Gaps between accuracy and confidence in each bin, times the share of the examples in it.

  Attributes:
    size: float64 [exits, bins], absolute value of the gap.
    error: float64 [exits, bins], its standard error; 0 in an empty bin.
    share: float64 [exits, bins], share of the examples.
    confidence: float64 [exits, bins], mean confidence; nan in an empty bin.
  """

  size: np.ndarray
  error: np.ndarray
  share: np.ndarray
  confidence: np.ndarray


def gaps(logits: np.ndarray, labels: np.ndarray, bins: int = metrics.BINS) -> Gaps:
  """Computes the gaps of every exit.

  The standard error takes the share of right examples in a bin as (right + 1/2) / (examples + 1).
  Otherwise a bin without an error would seem to have no uncertainty.

  Args:
    logits: float [N, exits, classes].
    labels: int [N].
    bins: number of equally wide bins of the confidence.

  Raises:
    UserError: there are no examples, or a logit is not a finite number.
  """
  n = len(labels)
  if not n:
    raise UserError('there are no examples to measure; choose a split that is not empty')
  found = reliability(logits, labels, bins)
  gap = np.where(found.examples, np.abs(found.accuracy - found.confidence), 0.0)
  right = (np.nan_to_num(found.accuracy) * found.examples + 0.5) / (found.examples + 1)
  share = found.examples / n
  variance = share * (right * (1 - right) + (1 - share) * gap**2) / n
  return Gaps(share * gap, np.sqrt(variance), share, found.confidence)


class Reliability(NamedTuple):
  """Confidence and accuracy in equally wide bins of confidence from 0 to 1, [exits, bins] each."""

  examples: np.ndarray  # int
  confidence: np.ndarray  # float64, mean; nan in an empty bin, as the accuracy
  accuracy: np.ndarray  # float64


def reliability(logits: np.ndarray, labels: np.ndarray, bins: int = metrics.BINS) -> Reliability:
  """Computes mean confidence and accuracy in each bin of the largest probability.

  Args:
    logits: float [N, exits, classes].
    labels: int [N].
    bins: number of bins; a bin contains its upper edge.

  Raises:
    UserError: a logit is not a finite number.
  """
  confidence, right = metrics.confidence(logits), metrics.correct(logits, labels)
  exits = confidence.shape[1]
  cell = (metrics.bin_of(confidence, bins) + bins * np.arange(exits)).ravel()

  def per_bin(values: np.ndarray | None) -> np.ndarray:
    return np.bincount(cell, values, exits * bins).reshape(exits, bins)

  examples = per_bin(None)
  with np.errstate(invalid='ignore'):
    return Reliability(
      examples, per_bin(confidence.ravel()) / examples, per_bin(right.ravel()) / examples
    )


def ece(logits: np.ndarray, labels: np.ndarray, bins: int = metrics.BINS) -> float:
  """Returns the debiased ECE of one exit, 0..1, from logits [N, classes].

  The bias of the plug-in estimate is estimated by adding the noise of the gaps to them once more:
  the mean growth of the sum of their absolute values, in closed form, is subtracted.

  References:
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
    Kumar, Liang and Ma, "Verified Uncertainty Calibration", NeurIPS 2019, arXiv 1909.10155.
  """
  return float(_debiased(gaps(logits[:, None], labels, bins))[0])


def ece_interval(logits: np.ndarray, labels: np.ndarray, bins: int = metrics.BINS) -> Interval:
  """Computes the debiased ECE of each exit and an interval that contains the true ECE.

  The bootstrap does not cover here: all of its resamples lie above the estimate of a calibrated
  exit. Instead the interval holds every ECE that the plug-in estimate t does not contradict, where
  each gap has independent normal noise e_b with the estimated standard error:

  - Lower end: t <= ECE + sum |e_b| for any gaps, so it is t minus the 97.5 % quantile of that sum;
    |e_b| is e_b where the sign of the gap is sure.
  - Upper end: the largest ECE whose plug-in estimate is at most t + 1 / 2N in 2.5 % of the draws.
    The ECE is spread over the bins in proportion to their standard errors; of all ways to spread
    it, this gives about the smallest plug-in estimates, and so the largest end. The standard errors
    are at least those of the accuracy that this ECE implies: a bin that is right on all examples
    may be wrong on others. N is the number of examples, and 1 / 2N corrects for whole numbers of
    right examples.

  It covers 95 % or a little more; `experiments/coverage.py` simulates it.

  Args:
    logits: float [N, exits, classes].
    labels: int [N].
    bins: number of bins of confidence.

  Returns:
    the interval, of shape [exits].

  Raises:
    UserError: as `gaps`.
  """
  found = gaps(logits, labels, bins)
  ends = np.array([_ends(Gaps(*of_exit), len(labels)) for of_exit in zip(*found, strict=True)])
  estimate = _debiased(found)
  low, high = ends.T
  return Interval(estimate, np.minimum(low, estimate), np.maximum(high, estimate))


def _debiased(found: Gaps) -> np.ndarray:
  """Returns 2 * plug-in - mean of the plug-in with more noise, not below 0, float64 [exits]."""
  from scipy.special import ndtr  # imported here: it takes a second

  size, error, *_ = found
  z = size / np.where(error > 0, error, np.inf)
  # Mean of |size + error * Z|, with Z standard normal.
  noisy = error * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2) + size * (1 - 2 * ndtr(-z))
  return np.maximum(0, (2 * size - noisy).sum(axis=-1) * (error > 0).any(axis=-1))


def _ends(found: Gaps, examples: int) -> tuple[float, float]:
  """Returns the ends of the interval of one exit from its gaps, [bins] each."""
  tail = (1 - LEVEL) / 2
  size, error, share, confidence = (part[found.error > 0] for part in found)
  noise = np.random.default_rng(0).normal(size=(DRAWS, len(size)))
  plug_in, part = size.sum(), error / error.sum()
  known = size > SURE * error
  low = plug_in - np.quantile(np.where(known, noise, np.abs(noise)) @ error, 1 - tail)

  def is_contradicted(ece: float) -> bool:
    # Accuracies nearer to 1/2 are less certain.
    apart = part * ece / share * np.where(confidence > 0.5, -1, 1)
    accuracy = np.clip(confidence + apart, 0, 1)
    implied = np.sqrt(share * accuracy * (1 - accuracy) / examples)
    drawn = np.abs(noise * np.maximum(error, implied) + part * ece).sum(axis=1)
    return np.quantile(drawn, tail) > plug_in + 0.5 / examples

  least, most = 0.0, 1.0
  for _ in range(HALVINGS):
    middle = (least + most) / 2
    least, most = (least, middle) if is_contradicted(middle) else (middle, most)
  return max(0.0, float(low)), most
