"""Every arm tuned with equal effort.

Is there still a gain when every arm has its own search, over the same learning rates? Each setting,
budget and exit is searched separately, as the best rate of the first exit is about ten times that
of the last, and validation chooses. `unpaced` takes the values found for `easy_first` and shows all
data without an order; `unweighted` takes those of `easy_weighted` and weights all examples equally.
Against these two a curriculum is measured alone, though at rates that were found for it. Against
the tuned `standard` it also has more trials, for the fields of its own.
"""

from experiments.configs.common import BACKBONE, COMMON, NO_ORDER, RATES, SETTINGS, WEIGHTED
from experiments.paired.search import Space
from experiments.paired.study import Arm, Study

PACED: Space = {
  'curriculum.start': [0.1, 0.3, 0.6],
  'curriculum.full_after': ['10%', '25%', '50%'],
  'curriculum.max_share': [1.0, 0.95],
}
LINEAR = {'curriculum.pacing': 'linear'}
PAIRS = [('easy_first', 'unpaced'), ('easy_weighted', 'unweighted')]


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings=SETTINGS,
    arms={
      'standard': Arm(NO_ORDER, space=RATES),
      # All data in the end, or all but the hardest twentieth, easy first.
      'easy_first': Arm(LINEAR | {'curriculum.order': 'easy_first'}, space={**RATES, **PACED}),
      'easy_weighted': Arm(
        WEIGHTED, space={**RATES, 'curriculum.easy_strength': [0.2, 0.4, 0.6, 0.8]}
      ),
      # What was found for a curriculum, without it.
      'unpaced': Arm(NO_ORDER, like='easy_first'),
      'unweighted': Arm({'curriculum.sample_weights': 'none'}, like='easy_weighted'),
    },
    budgets=(100, 300, 1000, 3000),
    seeds=range(8),
    trials=20,
    search_seeds=(100, 101),
  )
