"""Wrong labels and the learning rate: does a gain outlast a better rate for standard training?

Four labels in ten are wrong, as at the second level of `noise`, whose backbones these are: settings
of a data set and a seed share one whatever their rate.
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
