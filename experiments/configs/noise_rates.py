"""Label noise and the learning rate.

Do the weights only compensate for a learning rate that is too large for wrong labels? Four labels
in ten are wrong, and the backbones are those of the study `noise`. Settings of equal data set and
seed share a backbone.
"""

import dataclasses

from experiments.configs import noise
from experiments.configs.common import NO_ORDER, RECIPE, at_rates
from experiments.paired.study import Arm, Study

RATES = (0.003, 0.01, 0.03)
WRONG = {'data.label_noise': noise.LEVELS[-1]}


def get_study() -> Study:
  return dataclasses.replace(
    noise.get_study(),
    settings={name: fields | WRONG for name, fields in at_rates(RATES).items()},
    arms={
      'standard': Arm(NO_ORDER),
      'easy_weighted': Arm(RECIPE),
      'strongly_weighted': Arm(RECIPE | {'curriculum.easy_strength': 0.8}),
    },
    budgets=(3000,),
  )
