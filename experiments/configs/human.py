"""Labels with human errors.

The study `lite0` with the labels that people gave: CIFAR-10N and CIFAR-100N (Wei et al., ICLR
2022). Of the 50,000 training labels, 9 % (`aggregate`, the majority of three people), 17 %
(`random`, one person) and 40 % (`worst`, a wrong one if any of three was) of CIFAR-10 are wrong,
and 40 % of CIFAR-100 (`noisy`). Everything that learns or chooses has these labels: the final exit,
which also scores the examples, the heads, and validation. Test labels are correct. The labels are
for research only and are not part of this repository: human-labels/cifar10n.npz and
human-labels/cifar100n.npz hold the authors' arrays under the names below, in the official order.
"""

from experiments.configs.common import LITE0, LITE0_BACKBONE
from experiments.configs.lite0 import ARMS, PAIRS  # noqa: F401 (read by the page of the study)
from experiments.paired.study import Study

LABELS = {
  'cifar10 aggregate': ('cifar10', 'human-labels/cifar10n.npz:aggre_label'),
  'cifar10 random': ('cifar10', 'human-labels/cifar10n.npz:random_label1'),
  'cifar10 worst': ('cifar10', 'human-labels/cifar10n.npz:worse_label'),
  'cifar100 noisy': ('cifar100', 'human-labels/cifar100n.npz:noisy_label'),
}


def get_study():
  return Study(
    common=LITE0,
    backbone=LITE0_BACKBONE,
    settings={
      name: {'data.name': data, 'data.train_labels': file} for name, (data, file) in LABELS.items()
    },
    arms=ARMS,
    budgets=(300, 1000),
    seeds=range(8),
    search_seeds=(100,),
  )
