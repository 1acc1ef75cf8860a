"""Label noise: what a curriculum is worth when some of the labels are wrong.

The backbone, which also scores the examples, learns the noisy labels too; validation and test are
clean. It trains for half as long as those of the other studies, so that all 64 cost half as much.
"""

from experiments.configs.common import (
  BACKBONE,
  COMMON,
  DISTILLED,
  RECIPE,
  SETTINGS,
  STANDARD,
  TUNED_RATE,
  linear,
)
from experiments.paired.study import Arm, Study

EASY_FIRST = TUNED_RATE | linear(0.1, '30%')
CAPPED = EASY_FIRST | {'curriculum.max_share': 0.8}  # never shows the hardest fifth
EASY_WEIGHTED = TUNED_RATE | RECIPE
LEVELS = (0.2, 0.4)


def get_study():
  return Study(
    common=COMMON,
    backbone=BACKBONE | {'phases.joint.duration': '3 epochs'},
    settings={
      f'{name} {level:.0%} noise': {**fields, 'data.label_noise': level}
      for level in LEVELS
      for name, fields in SETTINGS.items()
    },
    arms={
      'standard': Arm(STANDARD),
      'easy_first': Arm(EASY_FIRST),
      'capped': Arm(CAPPED),
      'easy_weighted': Arm(EASY_WEIGHTED),
      'strongly_weighted': Arm(EASY_WEIGHTED | {'curriculum.easy_strength': 0.8}),
      'anti': Arm(EASY_FIRST | {'curriculum.order': 'anti'}),
      'random': Arm(EASY_FIRST | {'curriculum.order': 'random'}),
      'size_only': Arm(
        EASY_FIRST | {'curriculum.order': 'random', 'curriculum.class_balanced': False}
      ),
      'distilled': Arm(STANDARD | DISTILLED),
      'distilled_capped': Arm(CAPPED | DISTILLED),
    },
    budgets=(300, 1000, 3000),
    seeds=range(8),
  )
