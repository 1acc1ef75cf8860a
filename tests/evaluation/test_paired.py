import math

import numpy as np
import pytest
from scipy import stats

from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.paired import OVER_IMAGES, holm, over_images, over_seeds


def test_over_seeds_agrees_with_the_paired_t_test():
  ours, theirs = np.array([0.72, 0.70, 0.75, 0.71]), np.array([0.70, 0.69, 0.70, 0.71])
  effect = over_seeds(ours, theirs)
  change = ours - theirs
  error = change.std(ddof=1) / math.sqrt(4)
  reach = 3.182446 * error  # the 97.5 % quantile of Student's t, 3 degrees of freedom
  assert effect.pairs == 4 and effect.how == 'paired t over 4 seeds'
  assert effect[1:4] == pytest.approx((0.02, 0.02 - reach, 0.02 + reach), abs=1e-7)
  assert effect.p == pytest.approx(2 * stats.t.sf(0.02 / error, 3))


def test_swapping_sides_negates_the_effect():
  ours, theirs = np.random.default_rng(0).normal(size=(2, 6))
  one, other = over_seeds(ours, theirs), over_seeds(theirs, ours)
  assert one[1:4] == pytest.approx((-other[1], -other[3], -other[2]))
  assert one.p == pytest.approx(other.p)


def test_two_seeds_give_a_wide_interval():
  effect = over_seeds(np.array([0.71, 0.70]), np.array([0.69, 0.69]))
  assert effect.difference_low < -0.04 < 0.07 < effect.difference_high


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('shift', [0, 0.1])
def test_equal_differences_are_not_tested(shift):
  theirs = np.array([0.1, 0.3, 0.7])
  effect = over_seeds(theirs + shift, theirs)
  assert effect.difference == pytest.approx(shift)
  assert effect[2:] == (None, None, 'the same in all 3 seeds', None)


def test_one_pair_has_an_interval_without_p_value():
  interval = Interval(np.array([0.1, 0.2]), np.array([0.0, 0.1]), np.array([0.3, 0.4]))
  assert over_images(interval) == [
    (1, 0.1, 0.0, 0.3, OVER_IMAGES, None),
    (1, 0.2, 0.1, 0.4, OVER_IMAGES, None),
  ]


def test_equal_predictions_have_no_interval():
  (effect,) = over_images(Interval(np.zeros(1), np.zeros(1), np.zeros(1)))
  assert effect == (1, 0.0, None, None, 'the same on all test images', None)


def test_holm_by_hand():
  assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
  assert holm([0.5, 0.9]) == [1, 1]
  assert holm([]) == []


def test_holm_ignores_missing_p_values():
  assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]


@pytest.mark.parametrize('level', [0.01, 0.05, 0.2])
def test_holm_agrees_with_the_step_down_procedure(level):
  p = np.random.default_rng(1).beta(0.2, 1, 12)
  rejected = np.zeros(12, bool)
  for rank, place in enumerate(np.argsort(p)):
    if p[place] > level / (12 - rank):
      break
    rejected[place] = True
  assert 0 < rejected.sum() < 12
  assert (np.array(holm(p.tolist())) <= level).tolist() == rejected.tolist()
