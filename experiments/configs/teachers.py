"""Scores for which networks are trained, beside the final exit's: to pace by, and to weight by.

Rate and pacing are those of the study `scores`. Only the VGG: every teacher costs a training.
"""

from experiments.configs.common import BACKBONE, COMMON, NO_ORDER, RECIPE, SETTINGS, linear
from experiments.paired.study import Arm, Study

RATE = {'phases.heads.learning_rate': 0.001}
PACED = linear(0.1, '50%')
TEACHERS: dict[str, dict[str, str | int]] = {
  'final_exit': {'curriculum.teacher': 'final_exit'},
  'learning_speed': {'curriculum.teacher': 'learning_speed'},
  'prediction_depth': {'curriculum.teacher': 'prediction_depth'},
  'cross_validated': {
    'curriculum.teacher': 'cross_validated',
    'curriculum.folds': 2,
    'curriculum.repeats': 1,
  },
}


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings={name: fields for name, fields in SETTINGS.items() if 'vgg11' in name},
    arms={'standard': Arm(RATE | NO_ORDER)}
    | {name: Arm(RATE | PACED | teacher) for name, teacher in TEACHERS.items()}
    | {f'weighted_{name}': Arm(RATE | RECIPE | teacher) for name, teacher in TEACHERS.items()},
    budgets=(300, 1000),
    seeds=range(8),
  )
