"""Combinations.

Do a curriculum, distillation, a pacing per exit and survivor weights add up? All arms have one
learning rate, that of standard training averaged over its exits. `easy_first` grows evenly from
30 % of the data to all at a quarter of the steps; `per_exit` begins alike and shows all data at
half, a quarter and a tenth of the steps, the earliest exit last. `easy_weighted` has a strength of
0.8; `survivors` weights the examples that earlier exits are unsure of; `distilled` learns half from
the labels and half from the final exit.
"""

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
PAIRS = [
  ('per_exit', 'easy_first'),
  ('easy_first_survivors', 'survivors'),
  ('easy_first_distilled', 'distilled'),
  ('per_exit_distilled', 'distilled'),
  ('easy_weighted_distilled', 'distilled'),
  ('survivors_distilled', 'distilled'),
]


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
