"""The heads of `configs/` instead of those of SDN: a convolution, pooling and a dense layer.

Their rate is that of `configs/`, and `easy_first` has the paper's pacing, with its defaults.
"""

from experiments.configs.common import BACKBONE, COMMON, NO_ORDER, RECIPE, SETTINGS
from experiments.paired.study import Arm, Study


def get_study():
  return Study(
    common=COMMON
    | {
      'model.head': 'conv',
      'model.head_width': 16,
      'phases.heads.learning_rate': 0.01,
      'steps_per_dispatch': 0,
    },
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': Arm(NO_ORDER),
      'easy_first': Arm({'curriculum.order': 'easy_first'}),
      'easy_weighted': Arm(RECIPE),
    },
    budgets=(600,),
    seeds=range(8),
  )
