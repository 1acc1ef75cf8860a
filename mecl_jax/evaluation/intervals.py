"""Bootstrap intervals: how far a measure might be off, had other examples been drawn.

A resample is a number of copies per example, so a measure is computed from weights [resamples, N]
as one product or sum over values per example; the logits are never gathered again. The same seed
draws the same resamples of N examples, for whatever measure.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics

# float64 [resamples, N], which sum to N each -> float [resamples, ...]
Statistic = Callable[[np.ndarray], np.ndarray]

RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 2**20  # weights that are in memory at a time: 8 MiB


class Interval(NamedTuple):
  """A measure and its percentile interval, float64 arrays of one shape, such as [exits]."""

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
  """Percentile interval of any statistic over resampled examples.

  Args:
    statistic: of weights, float64 [resamples, N], to values [resamples, ...].
    examples: N.
    resamples: how many to draw.
    level: share of the resamples inside the interval.
    seed: of the draws.

  Returns:
    The statistic of all examples once, and its interval. Resamples in which it is nan (an AUROC
    without an error) are left out; nan where it always is.

  Raises:
    UserError: there are no examples.

  References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
  """
  if not examples:
    raise UserError('there are no examples to measure; choose a split that is not empty')
  estimate = np.asarray(statistic(np.ones((1, examples))), np.float64)[0]
  drawn = np.concatenate([statistic(w) for w in _resamples(examples, resamples, seed)])
  tails = ((1 - level) / 2, (1 + level) / 2)
  low, high = np.apply_along_axis(_quantiles, 0, drawn, tails)
  return Interval(estimate, low, high)


def mean_interval(values: np.ndarray, **settings) -> Interval:
  """Interval of the mean of values per example, as of `metrics.correct` (accuracy) or `losses`.

  Args:
    values: [N, ...].
    **settings: of `bootstrap`.

  Returns:
    Of shape [...].
  """
  values = values.astype(np.float64)
  return bootstrap(
    lambda weights: np.tensordot(weights, values, axes=1) / len(values), len(values), **settings
  )


def difference_interval(values: np.ndarray, others: np.ndarray, **settings) -> Interval:
  """Interval of mean(values) - mean(others), both [N, ...] of the same examples (paired)."""
  return mean_interval(values.astype(np.float64) - others, **settings)


def ece_interval(
  logits: np.ndarray, labels: np.ndarray, bins: int = metrics.BINS, **settings
) -> Interval:
  """Interval of `metrics.ece` of each exit.

  Args:
    logits: [N, exits, classes].
    labels: int [N].
    bins: of confidence; an example keeps its bin, so a resample is one matrix product.
    **settings: of `bootstrap`.

  Returns:
    Of shape [exits]. The ECE is biased upwards, the more so in resamples, so an interval can lie
    wholly above the estimate of a well calibrated exit.
  """
  sure = metrics.confidence(logits)
  gaps = np.zeros((*sure.shape, bins))
  gap = metrics.correct(logits, labels) - sure
  np.put_along_axis(gaps, metrics.bin_of(sure, bins)[..., None], gap[..., None], axis=-1)

  def statistic(weights: np.ndarray) -> np.ndarray:
    return np.abs(np.tensordot(weights, gaps, axes=1)).sum(axis=-1) / len(gaps)

  return bootstrap(statistic, len(gaps), **settings)


def auroc_interval(logits: np.ndarray, labels: np.ndarray, **settings) -> Interval:
  """Interval of `metrics.auroc` of each exit; examples are ranked once, resamples weigh the ranks.

  Args:
    logits: [N, exits, classes].
    labels: int [N].
    **settings: of `bootstrap`.

  Returns:
    Of shape [exits]; nan where an exit makes no error, or nothing but errors.
  """
  score, right = metrics.sureness(logits).T, metrics.correct(logits, labels).T

  def statistic(weights: np.ndarray) -> np.ndarray:
    exits = zip(score, right, strict=True)
    return np.stack([metrics.weighted_auroc(s, r, weights) for s, r in exits], axis=-1)

  return bootstrap(statistic, len(labels), **settings)


def _resamples(examples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
  """Copies of each example, float64 [rows, examples], until there were `resamples` rows.

  Counting uniform draws gives multinomial counts, several times as fast as asking for them.
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
  """Quantiles of the values [resamples] that are not nan, float64 [shares]."""
  kept = drawn[~np.isnan(drawn)]
  return np.quantile(kept, shares) if kept.size else np.full(len(shares), np.nan)
