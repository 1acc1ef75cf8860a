"""Label noise.

What is a curriculum worth when some of the labels are wrong? A share of the training labels is
replaced by others, drawn evenly from the other classes and alike for all seeds; validation and test
are clean. The backbone, which also scores the examples, is trained on the wrong labels too, for
half as long as in the other studies. Scores of a backbone that has memorised wrong labels are not
measured. All arms have the rate that is best for standard training with correct labels.
`easy_first`, `anti`, `random`, `size_only` and `capped` show a tenth of the data first and all of
it from 30 % of the steps on, except that `capped` never shows the hardest fifth. `easy_weighted`
has the strength of `configs/`, `strongly_weighted` twice that, and `distilled` learns half from the
final exit. Where the final exit is less accurate than the early ones, `area` means little.
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
PAIRS = [('easy_first', 'random'), ('distilled_capped', 'distilled')]


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
