"""All methods in one table.

What do the published ways of training several exits reach, beside a curriculum, at equal steps and
equal search? Whole networks start from random weights and train jointly. Every arm tries the same
three learning rates in each setting, with a seed that is not reported. Methods have the constants
of their authors. One departure: the weight of `byot` for the features multiplies a mean over them,
where the paper has a sum, so that this part of its loss is far smaller than the authors'.
docs/curriculum.md names what else differs from the authors' programs. `easy_first` and
`easy_weighted` need a teacher, a plain run of the same length whose steps are not counted. The
final exit is compared too.
"""

from experiments.configs.common import COMMON, NO_ORDER, RECIPE, SETTINGS, linear
from experiments.paired.search import Fields, Space
from experiments.paired.study import Arm, Study

RATES = [0.005, 0.015, 0.05]
SEARCHED: Space = {'phases.joint.learning_rate': RATES}
# The authors' share and temperature, which stays as it is. The weight of the features is that of
# public programs; it is of their mean here.
BYOT: Fields = {
  'distillation.weight': 0.3,
  'distillation.temperature': 3.0,
  'distillation.growth': 1.0,
  'distillation.feature_weight': 0.03,
}
# Rivals differ from standard training in these fields.
RIVALS: dict[str, Fields] = {
  'equilibrium': {'gradients': 'equilibrium'},
  'partition': {'gradients': 'partition'},
  'pcgrad': {'gradients': 'pcgrad'},
  'cagrad': {'gradients': 'cagrad'},
  'distilled': {'distillation.weight': 0.5},
  'byot': BYOT,
  'survivors': {'curriculum.sample_weights': 'survivors'},
  'cgt_hard': {'curriculum.sample_weights': 'cgt_hard'},
  'cgt_soft': {'curriculum.sample_weights': 'cgt_soft'},
  'l2w_den': {'curriculum.sample_weights': 'l2w_den'},
  'shallow_first': {'exit_schedule': 'shallow_first'},
  'deep_first': {'exit_schedule': 'deep_first'},
}


def get_study():
  return Study(
    common=COMMON
    | {
      'steps_per_dispatch': 0,
      'strategy': 'joint',
      'logging.validate_every': '0 steps',  # a third of the time of so short a training
    },
    settings=SETTINGS,
    arms={
      'standard': Arm(NO_ORDER, space=SEARCHED),
      'easy_first': Arm(linear(0.3, '25%'), space=SEARCHED),
      'easy_weighted': Arm(RECIPE, space=SEARCHED),
      **{name: Arm(NO_ORDER | dict(fields), space=SEARCHED) for name, fields in RIVALS.items()},
    },
    budgets=(300,),
    budget_of='joint',
    seeds=range(8),
    trials=len(RATES),
    search_seeds=(100,),
  )
