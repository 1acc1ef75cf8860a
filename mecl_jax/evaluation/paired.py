"""Paired comparisons of two ways of training: differences of runs with equal seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mecl_jax.evaluation.intervals import LEVEL, Interval

OVER_IMAGES = 'over the test images'
SAME = 1e-12  # differences this close are equal up to rounding


class Effect(NamedTuple):
  """Mean paired difference, ours minus theirs.

  Attributes:
    pairs: number of pairs of runs with equal seeds.
    difference: mean over the pairs.
    difference_low, difference_high: 95 % interval; None if there is none.
    how: how the interval was computed, for the reader.
    p: two-sided p-value of no difference; None if there is none.
  """

  pairs: int
  difference: float
  difference_low: float | None
  difference_high: float | None
  how: str
  p: float | None


def over_seeds(ours: np.ndarray, theirs: np.ndarray) -> Effect:
  """Computes the mean difference over seeds, with a paired t-test.

  Args:
    ours: float [S], a value per seed, for two seeds or more.
    theirs: float [S], for the same seeds.

  Returns:
    the effect. It has neither interval nor p-value if the difference is the same in every pair, as
    between runs that share a frozen backbone: a t-test is not defined there.
  """
  from scipy.stats import ttest_rel  # imported here: it takes a second

  change, seeds = ours - theirs, len(ours)
  difference = float(change.mean())
  if np.ptp(change) < SAME:
    return Effect(seeds, difference, None, None, f'the same in all {seeds} seeds', None)
  test = ttest_rel(ours, theirs)
  low, high = map(float, test.confidence_interval(LEVEL))
  return Effect(seeds, difference, low, high, f'paired t over {seeds} seeds', float(test.pvalue))


def over_images(interval: Interval) -> list[Effect]:
  """Makes effects from a single pair of runs and an interval over the test images.

  Such an interval covers other test images, but not other seeds. There is none where it has no
  width, as between exits of a shared backbone.

  Args:
    interval: of K differences, float [K] each.

  Returns:
    K effects without p-value.
  """
  effects = []
  for difference, low, high in zip(*(part.tolist() for part in interval), strict=True):
    if high - low < SAME:
      effects.append(Effect(1, difference, None, None, 'the same on all test images', None))
    else:
      effects.append(Effect(1, difference, low, high, OVER_IMAGES, None))
  return effects


def holm(p: Sequence[float | None]) -> list[float | None]:
  """Corrects the p-values of a family of tests by Holm's method; None stays None.

  References:
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6(2), 1979.

  Examples:
    >>> holm([0.01, 0.03, None])
    [0.02, 0.03, None]
  """
  tested = sorted((value, place) for place, value in enumerate(p) if value is not None)
  corrected, least = list(p), 0.0
  for rank, (value, place) in enumerate(tested):
    least = max(least, min(1.0, (len(tested) - rank) * value))
    corrected[place] = least
  return corrected
