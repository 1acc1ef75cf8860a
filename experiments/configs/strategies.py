"""Joint, layer-wise and mixed training, with and without a curriculum.

Short trainings of a small network from the beginning. Whoever follows a curriculum from the first
step needs a teacher: a plain run of the same length comes first, whose steps are not counted.
"""

from experiments.configs.common import COMMON, RECIPE, SETTINGS
from experiments.paired.study import Arm, Study

PACED = {'curriculum.pacing': 'fixed_exponential', 'curriculum.step_length': '8%'}
STRATEGIES = ('joint', 'layer_wise', 'mixed')


def get_study():
  def arm(order):
    return Arm(PACED | {'curriculum.order': order})

  return Study(
    common=COMMON
    | {
      'steps_per_dispatch': 0,
      'phases.backbone.duration': '300 steps',
      'logging.validate_every': '0 steps',  # a third of the time of so short a training
    },
    settings={
      f'{name} {strategy}': {**fields, 'strategy': strategy}
      for name, fields in SETTINGS.items()
      if 'vgg11' in name
      for strategy in STRATEGIES
    },
    arms={
      'standard': arm('none'),
      'easy_first': arm('easy_first'),
      'easy_weighted': Arm(PACED | RECIPE),
    },
    budgets=(300,),
    budget_of='joint',
    seeds=range(8),
  )
