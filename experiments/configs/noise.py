"""Label noise: what a curriculum is worth when some of the labels are wrong.

The backbone, which also scores the examples, learns the noisy labels too; validation and test are
clean. One learning rate for all arms, which standard training on clean labels wants.
"""

from experiments.configs.common import BACKBONE, COMMON, SETTINGS
from experiments.paired.study import Arm, Study

RATE = {'phases.heads.learning_rate': 0.03}
PACED = {
  'curriculum.pacing': 'linear',
  'curriculum.start': 0.1,
  'curriculum.full_after': '30%',
}
LEVELS = (0.2, 0.4)


def get_study():
  def arm(order, **more):
    return Arm(RATE | PACED | {'curriculum.order': order} | more)

  return Study(
    common=COMMON,
    backbone=BACKBONE,
    settings={
      f'{name} {level:.0%} noise': {**fields, 'data.label_noise': level}
      for level in LEVELS
      for name, fields in SETTINGS.items()
    },
    arms={
      'standard': arm('none'),
      'easy_first': arm('easy_first'),
      'capped': arm('easy_first', **{'curriculum.max_share': 0.8}),  # never shows the hardest fifth
      'easy_weighted': arm('none', **{'curriculum.sample_weights': 'easy_weighted'}),
      'anti': arm('anti'),
      'random': arm('random'),
      'distilled': arm('none', **{'distillation.weight': 0.5}),
      'distilled_capped': arm(
        'easy_first', **{'curriculum.max_share': 0.8, 'distillation.weight': 0.5}
      ),
    },
    budgets=(300, 1000, 3000),
    seeds=range(8),
  )
