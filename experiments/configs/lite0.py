"""A network pretrained on ImageNet.

The paper's setting: heads on a frozen network that was trained on ImageNet. EfficientNet-Lite0 sees
CIFAR at 128x128 pixels; the final exit is its last layer, trained on the data set. Four early
exits, after blocks 3, 5, 8 and 11, are heads as in the other studies: a learned mix of max and
average pooling to 4x4 pixels and a dense layer. Every run finds a learning rate for each exit by
`learning_rate='auto'`, so that all arms are tuned with the same effort. `paper` has the pacing of
the paper; `easy_first`, `anti` and `random` show 30 % of the data first and all of it after half of
the steps. `easy_weighted` has the strength of `configs/`, `strongly_weighted` twice that; `capped`
is `easy_first` without the hardest fifth. `distilled` learns half from the final exit. `dropped`
never shows images whose label the final exit contradicts; the weights of `fading` go from 0.8 at
every exit to none. The weights of the network are made by experiments/convert_torch.py.
"""

from experiments.configs.common import DISTILLED, LITE0, LITE0_BACKBONE, NO_ORDER, WEIGHTED, linear
from experiments.paired.study import Arm, Study

PAIRS = [
  ('easy_first', 'random'),
  ('distilled_weighted', 'distilled'),
]
EASY_FIRST = linear(0.3, '50%')
ARMS = {
  'standard': Arm(NO_ORDER),
  'paper': Arm({'curriculum.order': 'easy_first'}),
  'easy_first': Arm(EASY_FIRST),
  'anti': Arm(EASY_FIRST | {'curriculum.order': 'anti'}),
  'random': Arm(EASY_FIRST | {'curriculum.order': 'random'}),
  'capped': Arm(EASY_FIRST | {'curriculum.max_share': 0.8}),
  'easy_weighted': Arm(WEIGHTED | {'curriculum.easy_strength': 0.4}),
  'strongly_weighted': Arm(WEIGHTED | {'curriculum.easy_strength': 0.8}),
  'distilled': Arm(NO_ORDER | DISTILLED),
  'distilled_weighted': Arm(WEIGHTED | DISTILLED | {'curriculum.easy_strength': 0.8}),
  'dropped': Arm(NO_ORDER | {'curriculum.contradicted': 'drop'}),
  'fading': Arm(WEIGHTED | {'curriculum.exit_strengths': (0.8,), 'curriculum.easy_end': (0.0,)}),
}


def get_study():
  return Study(
    common=LITE0,
    backbone=LITE0_BACKBONE,
    settings={name: {'data.name': name} for name in ('cifar10', 'cifar100')},
    arms=ARMS,
    budgets=(300, 1000),
    seeds=range(8),
  )
