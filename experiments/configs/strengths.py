"""How much more easy examples should count at early exits, at the rate of standard training."""

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
