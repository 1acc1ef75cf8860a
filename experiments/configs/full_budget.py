"""The heads and the budget of `configs/`.

Does the learning rate of `configs/` fit about 30 epochs, and what does its recipe add? The heads
are those of the study `conv_heads`: the heads of `configs/` are four times as wide, and for them no
other rate was compared. Settings of equal data set and seed share a backbone.
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
