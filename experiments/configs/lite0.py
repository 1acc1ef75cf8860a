"""A network pretrained on ImageNet.

The paper's setting: heads on a frozen network that was trained on ImageNet. EfficientNet-Lite0 sees
CIFAR at 128x128 pixels; the final exit is its last layer, trained on the data set. Four early
exits, after blocks 3, 5, 8 and 11, are heads as in the other studies: a learned mix of max and
average pooling to 4x4 pixels and a dense layer. Every arm tries the same six rates, and every exit
takes its own best on validation, with a seed that is not compared. `easy_first`, `anti`, `random`
and `capped` have the pacing of the paper; `capped` is `easy_first` without the hardest fifth.
`easy_weighted` has the strength of `configs/`, `strongly_weighted` twice that. `distilled` learns
half from the final exit. `dropped` never shows images whose label the final exit contradicts. The
weights of the network are made by experiments/convert_torch.py.
"""

from experiments.configs.common import DISTILLED, LITE0, LITE0_BACKBONE, NO_ORDER, WEIGHTED
from experiments.paired.search import Fields
from experiments.paired.study import Arm, Study

PAIRS = [('easy_first', 'random'), ('capped', 'random'), ('distilled_weighted', 'distilled')]
EASY_FIRST = {'curriculum.order': 'easy_first'}
STRONGLY = WEIGHTED | {'curriculum.easy_strength': 0.8}
FIELDS: dict[str, Fields] = {
  'standard': NO_ORDER,
  'easy_first': EASY_FIRST,
  'anti': {'curriculum.order': 'anti'},
  'random': {'curriculum.order': 'random'},
  'capped': EASY_FIRST | {'curriculum.max_share': 0.8},
  'easy_weighted': WEIGHTED | {'curriculum.easy_strength': 0.4},
  'strongly_weighted': STRONGLY,
  'distilled': NO_ORDER | DISTILLED,
  'distilled_weighted': STRONGLY | DISTILLED,
  'dropped': NO_ORDER | {'curriculum.contradicted': 'drop'},
}
RATES = {'phases.heads.learning_rate': [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]}
ARMS = {name: Arm(fields, space=RATES) for name, fields in FIELDS.items()}


def get_study():
  return Study(
    common=LITE0,
    backbone=LITE0_BACKBONE,
    settings={name: {'data.name': name} for name in ('cifar10', 'cifar100')},
    arms=ARMS,
    budgets=(300, 1000),
    seeds=range(8),
    search_seeds=(100,),
  )
