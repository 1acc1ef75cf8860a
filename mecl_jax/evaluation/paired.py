"""Is one way of training better than another: differences of runs that are paired by seed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mecl_jax.evaluation.intervals import LEVEL, Interval

OVER_IMAGES = 'bootstrap over the test images'
SAME = 1e-12  # differences no further apart than this are equal: what is left of rounding


class Effect(NamedTuple):
  """What ours have above theirs.

  Attributes:
    pairs: runs of equal seed that were compared.
    difference: mean over the pairs.
    difference_low, difference_high: its 95 % interval; None where there is none.
    how: that the interval was made.
    p: of a two-sided test that the difference is nothing; None where there is none.
  """

  pairs: int
  difference: float
  difference_low: float | None
  difference_high: float | None
  how: str
  p: float | None


def over_seeds(ours: np.ndarray, theirs: np.ndarray) -> Effect:
  """Interval and p-value of a paired t-test.

  Args:
    ours: float [S], a value per seed, of two seeds or more.
    theirs: float [S], of the same seeds.

  Returns:
    the effect; where the difference is the same in every pair, as that of a backbone which both
    trained alike, a t-test says nothing, and there is neither interval nor p.
  """
  from scipy.stats import ttest_rel  # a second of start-up, only here

  change, seeds = ours - theirs, len(ours)
  difference = float(change.mean())
  if np.ptp(change) < SAME:
    return Effect(seeds, difference, None, None, f'the same in all {seeds} seeds', None)
  test = ttest_rel(ours, theirs)
  low, high = map(float, test.confidence_interval(LEVEL))
  return Effect(seeds, difference, low, high, f'paired t over {seeds} seeds', float(test.pvalue))


def over_images(interval: Interval) -> list[Effect]:
  """The effects of one pair of runs, whose interval [K] is of a bootstrap over the test images.

  It says how other images would have told, and nothing of other seeds. Where no resample differs,
  as between exits of a backbone that both trained alike, it says nothing at all.
  """
  effects = []
  for difference, low, high in zip(*(part.tolist() for part in interval), strict=True):
    if high - low < SAME:
      effects.append(Effect(1, difference, None, None, 'the same on all test images', None))
    else:
      effects.append(Effect(1, difference, low, high, OVER_IMAGES, None))
  return effects


def holm(p: Sequence[float | None]) -> list[float | None]:
  """P-values of one family, corrected for their number by Holm's method; None stays None.

  References:
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6(2), 1979.
  """
  tested = sorted((value, place) for place, value in enumerate(p) if value is not None)
  corrected, least = list(p), 0.0
  for rank, (value, place) in enumerate(tested):
    least = max(least, min(1.0, (len(tested) - rank) * value))
    corrected[place] = least
  return corrected
