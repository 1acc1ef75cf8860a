"""The paper's kind of setting: one small learning rate for all arms, and no search.

A curriculum gains most where a head is far from what it can learn. These rates are hundreds of
times below those that the study `tuned` finds: chosen, with the pacing, after a look at three of
the seeds, so that 300 steps teach every head something and 3,000 no head all it can. This study
shows where the claim holds, and `tuned` whether that matters.
"""

from experiments.configs.common import BACKBONE, COMMON, SETTINGS, linear
from experiments.paired.study import Arm, Study

RATES = {'cifar10': 0.000035, 'cifar100': 0.00015}
EASY_FIRST = linear(0.1, '100%')


def get_study():
  def arm(order, **more):
    return Arm(EASY_FIRST | {'curriculum.order': order} | more)

  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings={
      name: {**fields, 'phases.heads.learning_rate': RATES[str(fields['data.name'])]}
      for name, fields in SETTINGS.items()
    },
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
