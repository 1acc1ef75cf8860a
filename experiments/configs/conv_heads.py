"""Heads with a convolution.

Does the gain depend on the heads? The other small studies have the pooled heads of SDN; these heads
have a convolution, pooling and a dense layer, as in `configs/` but with fewer channels, at the
learning rate of `configs/` and at a larger one. `easy_first` has the paper's pacing with its
defaults, `easy_weighted` is the recipe of `configs/`, and `easy_first_weighted` combines both.
Neither rate is tuned, and effects of heads, rate and pacing are not separated. Settings of equal
data set and seed share a backbone.
"""

from experiments.configs.common import BACKBONE, COMMON, CONV_HEADS, NO_ORDER, RECIPE, at_rates
from experiments.paired.study import Arm, Study

RATES = (0.01, 0.03)
EASY_FIRST = {'curriculum.order': 'easy_first'}
PAIRS = [('easy_first_weighted', 'easy_weighted')]


def get_study():
  return Study(
    common=COMMON | CONV_HEADS,
    backbone=BACKBONE,
    settings=at_rates(RATES),
    arms={
      'standard': Arm(NO_ORDER),
      'easy_first': Arm(EASY_FIRST),
      'easy_weighted': Arm(RECIPE),
      'easy_first_weighted': Arm(RECIPE | EASY_FIRST),
    },
    budgets=(600, 3000),
    seeds=range(8),
  )
