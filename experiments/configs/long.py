"""Many steps at the rate that standard training wants: is there anything left of a gain?"""

from experiments.configs.common import (
  BACKBONE,
  COMMON,
  NO_ORDER,
  SETTINGS,
  TUNED_RATE,
  WEIGHTED,
  linear,
)
from experiments.paired.study import Arm, Study


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': Arm(TUNED_RATE | NO_ORDER),
      'easy_first': Arm(TUNED_RATE | linear(0.3, '25%')),
      'easy_weighted': Arm(TUNED_RATE | WEIGHTED | {'curriculum.easy_strength': 0.4}),
    },
    budgets=(10_000,),
    seeds=range(8),
  )
