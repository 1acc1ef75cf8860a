"""Scores that need networks of their own.

Are scores better for which other networks are trained? `learning_speed` is the first of six epochs
from which on an example is always classified correctly. `prediction_depth` is the first exit from
which on all exits agree, in heads trained on all data. `cross_validated` is the loss of a network
trained on the other half of the examples, in two folds, for half of the backbone's steps.
`final_exit` is the confidence that the other studies use. An arm `weighted_NAME` weights examples
by its score, as the recipe of `configs/` does, instead of ordering them. Learning rate and pacing
are those of the study `scores`; only the VGG-11 is trained, as every teacher costs a training.
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
PAIRS = [
  (f'{weighted}{name}', f'{weighted}final_exit')
  for weighted in ('', 'weighted_')
  for name in ('learning_speed', 'prediction_depth', 'cross_validated')
]


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
