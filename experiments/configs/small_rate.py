"""One learning rate for all arms, as in the paper, and one that is too small on purpose.

A curriculum gains most where a head is far from what it can learn. The rate is 0.1 over the steps,
so that Adam, whose steps are about as long as its rate, moves a head equally far at every budget:
after a look at three of the seeds, to where every head has learnt something, and none all it can.
This study shows where the claim holds, and `tuned` whether that matters.
"""

from experiments.configs.common import BACKBONE, COMMON, SETTINGS, linear
from experiments.paired.study import Arm, Study

EASY_FIRST = linear(0.1, '100%')
BUDGETS = (300, 1000, 3000, 10_000)


def get_study():
  def arm(order, **more):
    return Arm(EASY_FIRST | {'curriculum.order': order} | more)

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
    budgets={steps: {'phases.heads.learning_rate': 0.1 / steps} for steps in BUDGETS},
    seeds=range(8),
  )
