"""The learning rate.

Does the gain of a pacing depend on the learning rate? Both arms run at rates from far too small to
far too large, and all data are visible from half of the steps on. Settings of equal data set and
seed share a backbone.
"""

from experiments.configs.common import BACKBONE, COMMON, NO_ORDER, at_rates, linear
from experiments.paired.study import Arm, Study

RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=at_rates(RATES),
    arms={'standard': Arm(NO_ORDER), 'easy_first': Arm(linear(0.1, '50%'))},
    budgets=(1000,),
    seeds=range(8),
  )
