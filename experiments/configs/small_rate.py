"""The paper's kind of setting: one small learning rate for all arms, and no search.

A tenth of what Adam usually has, and about a hundredth of what the study `tuned` finds.
"""

from experiments.configs.common import BACKBONE, COMMON, SETTINGS
from experiments.paired.study import Arm, Study

RATE = {'phases.heads.learning_rate': 0.0001}
# All data at 48 % of the steps: the constants of Hacohen and Weinshall, their steps as shares.
PACED = {'curriculum.pacing': 'fixed_exponential', 'curriculum.step_length': '8%'}


def get_study():
  def arm(order, **more):
    return Arm(RATE | PACED | {'curriculum.order': order} | more)

  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': arm('none'),
      'easy_first': arm('easy_first'),
      'anti': arm('anti'),
      'random': arm('random'),
      # Not even the classes stay balanced: nothing but the number of visible examples is left.
      'size_only': arm('random', **{'curriculum.class_balanced': False}),
    },
    budgets=(300, 1000, 3000, 10_000),
    seeds=range(8),
  )
