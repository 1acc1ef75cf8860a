"""Bootstrap intervals: how much a metric varies over other examples of the same kind.

A resample is a number of copies per example. So a metric of resamples is computed from counts
[resamples, N] as a product with values per example, and the logits are not gathered again. The same
seed draws the same resamples of N examples for every metric.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics

# Counts float64 [resamples, N], each row with the sum N -> float [resamples, ...].
Statistic = Callable[[np.ndarray], np.ndarray]

RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 2**20  # counts in memory at a time: 8 MiB


class Interval(NamedTuple):
  """A metric and its percentile interval, float64 arrays of one shape, such as [exits]."""

  estimate: np.ndarray
  low: np.ndarray
  high: np.ndarray


def bootstrap(
  statistic: Statistic,
  examples: int,
  *,
  resamples: int = RESAMPLES,
  level: float = LEVEL,
  seed: int = 0,
) -> Interval:
  """Computes a statistic and its percentile interval over resampled examples.

  Args:
    statistic: function of counts, float64 [resamples, N], that returns values [resamples, ...].
    examples: number of examples, N.
    resamples: number of resamples.
    level: share of the resamples inside the interval.
    seed: seed of the draws.

  Returns:
    the statistic of all examples, each counted once, and its interval. Resamples where the
    statistic is nan (an AUROC without errors) are left out; the interval is nan if all are.

  Raises:
    UserError: there are no examples.

  References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
  """
  if not examples:
    raise UserError('there are no examples to measure; choose a split that is not empty')
  estimate = np.asarray(statistic(np.ones((1, examples))), np.float64)[0]
  drawn = np.concatenate([statistic(c) for c in _resamples(examples, resamples, seed)])
  tails = ((1 - level) / 2, (1 + level) / 2)
  low, high = np.apply_along_axis(_quantiles, 0, drawn, tails)
  return Interval(estimate, low, high)


def mean_interval(values: np.ndarray, **settings) -> Interval:
  """Computes the mean of values per example and its interval.

  Args:
    values: [N, ...], such as `metrics.correct` (for the accuracy) or `metrics.losses`.
    **settings: keyword arguments of `bootstrap`.

  Returns:
    the interval, of shape [...].
  """
  values = values.astype(np.float64)
  return bootstrap(
    lambda counts: np.tensordot(counts, values, axes=1) / len(values), len(values), **settings
  )


def difference_interval(values: np.ndarray, others: np.ndarray, **settings) -> Interval:
  """Computes mean(values) - mean(others) and its paired interval.

  Args:
    values, others: [N, ...] each, of the same examples.
    **settings: keyword arguments of `bootstrap`.

  Returns:
    the interval, of shape [...].
  """
  return mean_interval(values.astype(np.float64) - others, **settings)


def ece_interval(
  logits: np.ndarray, labels: np.ndarray, bins: int = metrics.BINS, **settings
) -> Interval:
  """Computes the expected calibration error of each exit and its interval.

  Args:
    logits: float [N, exits, classes].
    labels: int [N].
    bins: number of bins of confidence.
    **settings: keyword arguments of `bootstrap`.

  Returns:
    the interval, of shape [exits]. The ECE is biased upwards, and more so in resamples, so the
    interval of a well calibrated exit can lie wholly above its estimate.
  """
  confidence = metrics.confidence(logits)
  gaps = np.zeros((*confidence.shape, bins))
  gap = metrics.correct(logits, labels) - confidence
  np.put_along_axis(gaps, metrics.bin_of(confidence, bins)[..., None], gap[..., None], axis=-1)

  def statistic(counts: np.ndarray) -> np.ndarray:
    return np.abs(np.tensordot(counts, gaps, axes=1)).sum(axis=-1) / len(gaps)

  return bootstrap(statistic, len(gaps), **settings)


def auroc_interval(logits: np.ndarray, labels: np.ndarray, **settings) -> Interval:
  """Computes the AUROC of each exit and its interval.

  Args:
    logits: float [N, exits, classes].
    labels: int [N].
    **settings: keyword arguments of `bootstrap`.

  Returns:
    the interval, of shape [exits]; nan at an exit that is always right or always wrong.
  """
  ranks, right = metrics.negated_odds(logits).T, metrics.correct(logits, labels).T

  def statistic(counts: np.ndarray) -> np.ndarray:
    exits = zip(ranks, right, strict=True)
    return np.stack([metrics.auroc_of_counts(s, r, counts) for s, r in exits], axis=-1)

  return bootstrap(statistic, len(labels), **settings)


def _resamples(examples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
  """Yields counts of each example, float64 [rows, examples], `resamples` rows in total.

  Counting uniform draws gives multinomial counts, several times as fast as drawing these.
  """
  generator = np.random.default_rng(seed)
  at_once = max(1, AT_ONCE // examples)
  for start in range(0, resamples, at_once):
    rows = min(at_once, resamples - start)
    drawn = generator.integers(examples, size=(rows, examples))
    drawn += np.arange(rows)[:, None] * examples
    counts = np.bincount(drawn.ravel(), minlength=rows * examples)
    yield counts.reshape(rows, examples).astype(np.float64)


def _quantiles(drawn: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
  """Returns quantiles of the values [resamples] that are not nan, float64 [shares]."""
  kept = drawn[~np.isnan(drawn)]
  return np.quantile(kept, shares) if kept.size else np.full(len(shares), np.nan)
