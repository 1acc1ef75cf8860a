"""Many steps.

Is there still a gain after many steps, at the rate of standard training averaged over its exits?
`easy_first` is that of the study `combined`, and `easy_weighted` is the recipe of `configs/`. The
rate is not searched for so many steps; in the trials of the study `tuned` later exits want a
smaller one, so a gain here may only make up for the rate.
"""

from experiments.configs.common import (
  BACKBONE,
  COMMON,
  EASY_FIRST,
  RECIPE,
  SETTINGS,
  STANDARD,
  TUNED_RATE,
)
from experiments.paired.study import Arm, Study


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': Arm(STANDARD),
      'easy_first': Arm(EASY_FIRST),
      'easy_weighted': Arm(TUNED_RATE | RECIPE),
    },
    budgets=(10_000,),
    seeds=range(8),
  )
