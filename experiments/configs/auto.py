"""Learning rates found in one run.

Does `learning_rate='auto'` reach what a whole search reaches? `standard` tries all eight candidates
in whole trainings with two seeds, and every exit takes its best by validation; `auto` tries them at
once within each run, and the better ones for longer. On the network of the study `lite0`, without a
curriculum, with correct labels and with the worst labels of the study `human`. The column `seconds`
of the table has the time of every trial and run.
"""

from experiments.configs.common import LITE0, LITE0_BACKBONE, NO_ORDER
from experiments.configs.human import LABELS
from experiments.paired.study import Arm, Study
from mecl_jax import config

CANDIDATES = config.default().phases.heads.candidate_rates
RATE = 'phases.heads.learning_rate'
SEARCHED = {RATE: list(CANDIDATES)}
COMPARE_STEPS = False
DATA, LABEL_FILE = LABELS['cifar10 worst']
WORST = {'data.name': DATA, 'data.train_labels': LABEL_FILE}


def get_study():
  return Study(
    common=LITE0,
    backbone=LITE0_BACKBONE,
    settings={'cifar10': {'data.name': 'cifar10'}, 'cifar10 worst': WORST},
    arms={
      'standard': Arm(NO_ORDER, space=SEARCHED),
      'auto': Arm(NO_ORDER | {RATE: 'auto'}),
    },
    budgets=(1000,),
    seeds=range(8),
    search_seeds=(100, 101),
  )
