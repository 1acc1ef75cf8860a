"""Intervals: how much a metric varies over other examples of the same kind.

`python -m experiments.coverage` simulates how often each of them contains the true value; its table
is docs/coverage.md. The interval of the ECE is in calibration_error.py.

A bootstrap resample is a number of copies per example. So a metric of resamples is computed from
counts [resamples, N] as a product with values per example, and the logits are not gathered again.
The same seed draws the same resamples of N examples for every metric.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics

# Counts float64 [resamples, N], each row with the sum N -> float [resamples, ...].
Statistic = Callable[[np.ndarray], np.ndarray]

RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 2**20  # counts in memory at a time: 8 MiB
NORMAL = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
ROUNDING = 1e-12  # relative to the values: a smaller deviation is none


class Interval(NamedTuple):
  """A metric and its 95 % interval, float64 arrays of one shape, such as [exits]."""

  estimate: np.ndarray
  low: np.ndarray
  high: np.ndarray


def proportion_interval(right: np.ndarray) -> Interval:
  """Computes a share of the examples, such as the accuracy, and its exact interval.

  Args:
    right: bool [N, ...].

  Returns:
    the interval, of shape [...]; never of zero width, also where all examples are right.

  Raises:
    UserError: there are no examples.

  References:
    Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
    Binomial", Biometrika 26(4), 1934.
  """
  from scipy.stats import beta  # imported here: it takes a second

  n, tail = _examples(right), (1 - LEVEL) / 2
  count = np.sum(right, axis=0, dtype=np.float64)
  # A beta distribution with a parameter of 0 is not defined; it stands for the ends 0 and 1.
  low = np.where(count > 0, beta.ppf(tail, np.maximum(count, 1), n - count + 1), 0.0)
  high = np.where(count < n, beta.ppf(1 - tail, count + 1, np.maximum(n - count, 1)), 1.0)
  return Interval(np.asarray(count / n), low, high)


def proportion_difference_interval(right: np.ndarray, others: np.ndarray) -> Interval:
  """Computes the difference of two shares of the same examples and its paired interval.

  Args:
    right, others: bool [N, ...] each.

  Returns:
    mean(right) - mean(others) and its interval, of shape [...]; never of zero width, also where
    both agree on all examples.

  Raises:
    UserError: there are no examples.

  References:
    Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions
    Based on Paired Data", Journal of Educational and Behavioral Statistics 37(4), 2012.
  """
  n = _examples(right)
  only, other = (np.sum(a & ~b, axis=0) for a, b in ((right, others), (others, right)))
  estimate, p, q = (only - other) / n, (only + 1) / (n + 2), (other + 1) / (n + 2)
  half = NORMAL * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
  return Interval(estimate, p - q - half, p - q + half)


def mean_interval(values: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
  """Computes the mean of values per example and its bootstrap-t interval.

  It divides the error of the mean of a resample by the deviation of that resample. This covers also
  where few examples have large values, as the NLL of an accurate exit; the percentile interval is
  too narrow there.

  Args:
    values: [N, ...], such as `metrics.losses`.
    resamples: number of resamples.
    seed: seed of the draws.

  Returns:
    the interval, of shape [...]; of zero width where all values are equal.

  Raises:
    UserError: there are no examples.

  References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 12.5.
  """
  n, values = _examples(values), values.astype(np.float64)
  mean, spread = values.mean(axis=0), values.std(axis=0)
  centred = values - mean
  drawn = []
  for counts in _resamples(n, resamples, seed):
    shift = np.tensordot(counts, centred, axes=1) / n
    variance = np.tensordot(counts, centred**2, axes=1) / n - shift**2
    # A resample of equal values has no deviation, and gives no value.
    known = variance > (ROUNDING * (spread + np.abs(mean))) ** 2
    drawn.append(np.where(known, shift / np.sqrt(np.where(known, variance, 1)), np.nan))
  low, high = _quantiles(np.concatenate(drawn))
  return Interval(mean, mean - spread * np.nan_to_num(high), mean - spread * np.nan_to_num(low))


def difference_interval(values: np.ndarray, others: np.ndarray, **settings) -> Interval:
  """Computes mean(values) - mean(others) and its paired interval.

  Args:
    values, others: [N, ...] each, of the same examples.
    **settings: keyword arguments of `mean_interval`.

  Returns:
    the interval, of shape [...].
  """
  return mean_interval(values.astype(np.float64) - others, **settings)


def bootstrap(
  statistic: Statistic, examples: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
  """Computes a statistic and its percentile interval over resampled examples.

  Args:
    statistic: function of counts, float64 [resamples, N], that returns values [resamples, ...].
    examples: number of examples, N.
    resamples: number of resamples.
    seed: seed of the draws.

  Returns:
    the statistic of all examples, each counted once, and its interval. Resamples where the
    statistic is nan are left out; the interval is nan if all are.

  Raises:
    UserError: there are no examples.

  References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
  """
  _check_any(examples)
  estimate = np.asarray(statistic(np.ones((1, examples))), np.float64)[0]
  drawn = np.concatenate([statistic(c) for c in _resamples(examples, resamples, seed)])
  low, high = _quantiles(drawn)
  return Interval(estimate, low, high)


def of_metrics(
  made: Mapping[str, Callable[[int], Interval]], names: Collection[str] | None
) -> dict[str, Interval]:
  """Computes metrics by name; only some of them with their interval.

  Args:
    made: functions of the number of resamples.
    names: of the metrics that get an interval, which takes time; None for all. The others have nan.
  """
  found = {}
  for name, make in made.items():
    if names is None or name in names:
      found[name] = make(RESAMPLES)
    else:
      estimate = make(1).estimate
      found[name] = Interval(estimate, *[np.full(np.shape(estimate), np.nan)] * 2)
  return found


def auroc_interval(logits: np.ndarray, labels: np.ndarray) -> Interval:
  """Computes the AUROC of each exit and its interval.

  The interval is that of DeLong on the scale of the log odds. Where there are fewer than two right
  or wrong examples, or the confidence separates them perfectly, it is Newcombe's fifth.

  Args:
    logits: float [N, exits, classes].
    labels: int [N].

  Returns:
    the interval, of shape [exits]; nan at an exit that is always right or always wrong.

  Raises:
    UserError: there are no examples, or a logit is not a finite number.

  References:
    DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver
    Operating Characteristic Curves", Biometrics 44(3), 1988.
    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic.
    Part 2", Statistics in Medicine 25(4), 2006.
  """
  _check_any(len(labels))
  scores, right = metrics.negated_odds(logits).T, metrics.correct(logits, labels).T
  found = [_auroc(s[r], s[~r]) for s, r in zip(scores, right, strict=True)]
  return Interval(*np.array(found).T)


def _auroc(of_right: np.ndarray, of_wrong: np.ndarray) -> tuple[float, float, float]:
  """Returns the AUROC of scores of right and of wrong examples, and the ends of its interval."""
  m, n = len(of_right), len(of_wrong)
  if not m or not n:
    return np.nan, np.nan, np.nan
  # For each example, the share of the other kind that is ranked properly against it.
  of_each_right = metrics.shares_below(of_right, of_wrong)
  of_each_wrong = metrics.shares_below(-of_wrong, -of_right)
  auroc = float(of_each_right.mean())
  if min(m, n) < 2 or not 0 < auroc < 1:
    return (auroc, *_newcombe(auroc, m, n))
  variance = of_each_right.var(ddof=1) / m + of_each_wrong.var(ddof=1) / n
  if not variance:  # all confidences are equal
    return (auroc, *_newcombe(auroc, m, n))
  odds, half = np.log(auroc / (1 - auroc)), NORMAL * np.sqrt(variance) / (auroc * (1 - auroc))
  low, high = (float(1 / (1 + np.exp(-end))) for end in (odds - half, odds + half))
  return auroc, low, high


def _newcombe(auroc: float, m: int, n: int) -> tuple[float, float]:
  """Returns the smallest and largest AUROC whose standard error allows this estimate."""
  candidates = np.linspace(0, 1, 10_001)
  balanced = (m + n) / 2 - 1
  factor = 1 + balanced * ((1 - candidates) / (2 - candidates) + candidates / (1 + candidates))
  variance = candidates * (1 - candidates) * factor / (m * n)
  allowed = candidates[(auroc - candidates) ** 2 <= NORMAL**2 * variance]
  return float(min(allowed.min(initial=auroc), auroc)), float(
    max(allowed.max(initial=auroc), auroc)
  )


def _examples(values: np.ndarray) -> int:
  _check_any(len(values))
  return len(values)


def _check_any(examples: int) -> None:
  if not examples:
    raise UserError('there are no examples to measure; choose a split that is not empty')


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


def _quantiles(drawn: np.ndarray) -> np.ndarray:
  """Returns the ends [2, ...] of the middle 95 % of values [resamples, ...] that are not nan."""
  tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)

  def of_one(values: np.ndarray) -> np.ndarray:
    kept = values[~np.isnan(values)]
    return np.quantile(kept, tails) if kept.size else np.full(2, np.nan)

  return np.apply_along_axis(of_one, 0, drawn)
