"""The hard question: is there anything left of a gain when every arm is tuned with equal effort?

Every exit has a search of its own, as the first wants a tenfold of the rate of the last.
"""

from experiments.configs.common import BACKBONE, COMMON, NO_ORDER, SETTINGS, WEIGHTED
from experiments.paired.search import Space
from experiments.paired.study import Arm, Study

RATE: Space = {'phases.heads.learning_rate': (0.003, 0.3)}
PACED: Space = {
  'curriculum.start': [0.1, 0.3, 0.6],
  'curriculum.full_after': ['10%', '25%', '50%'],
  'curriculum.max_share': [1.0, 0.95],
}
LINEAR = {'curriculum.pacing': 'linear'}


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': Arm(NO_ORDER, space=RATE),
      # All data in the end, or all but the hardest twentieth, easy first.
      'easy_first': Arm(LINEAR | {'curriculum.order': 'easy_first'}, space={**RATE, **PACED}),
      'easy_weighted': Arm(
        WEIGHTED, space={**RATE, 'curriculum.easy_strength': [0.2, 0.4, 0.6, 0.8]}
      ),
      # What was found for a curriculum, without it.
      'unpaced': Arm(NO_ORDER, like='easy_first'),
      'unweighted': Arm({'curriculum.sample_weights': 'none'}, like='easy_weighted'),
    },
    budgets=(100, 300, 1000, 3000),
    seeds=range(8),
    trials=8,
    search_seeds=(0, 1),
  )
