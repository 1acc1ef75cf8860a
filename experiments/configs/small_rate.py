"""The paper's kind of setting: one small learning rate for all arms, and no search.

Far below what the study `tuned` finds, where a curriculum repairs what the rate spoils. It was
chosen after a look at two seeds of other rates, as one that is small for 3,000 steps and at which
300 steps still teach something: this study shows where the claim holds, and `tuned` whether that
matters.
"""

from experiments.configs.common import BACKBONE, COMMON, SETTINGS
from experiments.paired.study import Arm, Study

RATE = {'phases.heads.learning_rate': 0.00015}
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
