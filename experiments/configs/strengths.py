"""The strength of the weights.

How much more should easy examples count at early exits? All arms have one learning rate, that of
standard training averaged over its exits. The weights of the first exit range from 1 minus the
strength to 1 plus the strength. The recipe of `configs/` has the strength that is best on
validation, averaged over early exits, settings and budgets.
"""

from experiments.configs.common import BACKBONE, COMMON, SETTINGS, STANDARD, TUNED_RATE, WEIGHTED
from experiments.paired.study import Arm, Study

STRENGTHS = (0.2, 0.4, 0.6, 0.8)


def get_study():
  weighted = {
    f'easy_weighted_{strength}': Arm(TUNED_RATE | WEIGHTED | {'curriculum.easy_strength': strength})
    for strength in STRENGTHS
  }
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={'standard': Arm(STANDARD)} | weighted,
    budgets=(300, 1000),
    seeds=range(8),
  )
