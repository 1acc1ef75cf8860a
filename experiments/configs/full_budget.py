"""The heads and the budget of `configs/`: is its learning rate right, and what does its recipe add?

As `conv_heads`, for about 30 epochs. Settings of a data set and a seed share a backbone whatever
their rate.
"""

from experiments.configs.common import BACKBONE, COMMON, CONV_HEADS, NO_ORDER, RECIPE, at_rates
from experiments.paired.study import Arm, Study

RATES = (0.01, 0.03)


def get_study():
  return Study(
    common=COMMON | CONV_HEADS,
    backbone=BACKBONE,
    settings=at_rates(RATES),
    arms={'standard': Arm(NO_ORDER), 'easy_weighted': Arm(RECIPE)},
    budgets=(10_500,),
    seeds=range(8),
  )
