"""What adds up: a curriculum with distillation, with a pacing per exit, with survivor weights."""

from experiments.configs.common import (
  BACKBONE,
  COMMON,
  DISTILLED,
  EASY_FIRST,
  SETTINGS,
  STANDARD,
  TUNED_RATE,
  WEIGHTED,
)
from experiments.paired.study import Arm, Study

EASY_WEIGHTED = TUNED_RATE | WEIGHTED | {'curriculum.easy_strength': 0.8}
SURVIVORS = {'curriculum.sample_weights': 'survivors'}
# The earlier an exit, the slower: all data at half, a quarter and a tenth of the steps.
PER_EXIT = {
  'curriculum.per_exit': 'own',
  'curriculum.exit_pacings': (
    'linear full_after=50%, linear full_after=25%, linear full_after=10%, constant start=1'
  ),
}


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': Arm(STANDARD),
      'easy_first': Arm(EASY_FIRST),
      'per_exit': Arm(EASY_FIRST | PER_EXIT),
      'easy_weighted': Arm(EASY_WEIGHTED),
      'survivors': Arm(STANDARD | SURVIVORS),
      'distilled': Arm(STANDARD | DISTILLED),
      'easy_first_distilled': Arm(EASY_FIRST | DISTILLED),
      'per_exit_distilled': Arm(EASY_FIRST | PER_EXIT | DISTILLED),
      'easy_weighted_distilled': Arm(EASY_WEIGHTED | DISTILLED),
      'survivors_distilled': Arm(STANDARD | SURVIVORS | DISTILLED),
      'easy_first_survivors': Arm(EASY_FIRST | SURVIVORS),
    },
    budgets=(300, 1000),
    seeds=range(8),
  )
