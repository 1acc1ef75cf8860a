"""Whole networks from scratch: joint, layer-wise and mixed training.

Does a curriculum help where the whole network is trained? A VGG-11 starts from random weights in
short trainings; no training comes near convergence, and the learning rate is not searched. The
budget is that of the joint phase: `layer_wise` gives each of its four exits an equal part of it,
and `mixed` trains the backbone for as many steps before. An arm with a curriculum from the first
step needs a teacher, a plain run of the same length whose steps are not counted. The final exit is
compared too.
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
