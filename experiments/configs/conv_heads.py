"""The heads of `configs/` instead of those of SDN: a convolution, pooling and a dense layer.

At the rate of `configs/` and at a larger one; `easy_first` has the paper's pacing, with its
defaults. Settings of a data set and a seed share a backbone whatever their rate.
"""

from experiments.configs.common import BACKBONE, COMMON, CONV_HEADS, NO_ORDER, RECIPE, at_rates
from experiments.paired.study import Arm, Study

RATES = (0.01, 0.03)
EASY_FIRST = {'curriculum.order': 'easy_first'}


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
