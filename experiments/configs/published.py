"""Beside published tables: a ResNet-18 with four exits on CIFAR-100, at their multiply-accumulates.

For a GPU: a seed takes under four minutes on an H100. The backbone and its final exit train first,
then everything (`mixed`), with and without the weights of the repository's configs/. Heads of
separable convolutions are those of the published networks, without their attention.
"""

from experiments.configs.common import NO_ORDER, RECIPE
from experiments.paired.study import Arm, Study

BACKBONE_STEPS = 3520  # 20 epochs of 45,000 images
STEPS = 7920  # 45 epochs; both are whole calls of 16 steps


def get_study() -> Study:
  return Study(
    common={
      'strategy': 'mixed',
      'batch_size': 256,
      'data.name': 'cifar100',
      'model.stem': 'cifar',
      'model.head': 'separable',
      'model.dtype': 'bfloat16',
      'phases.joint.learning_rate': 0.1,
      'logging.validate_every': '0 steps',
      'report.page': False,
    },
    settings={
      'cifar100 resnet18': {
        'model.backbone': 'resnet18',
        'model.exits': ('stage1', 'stage2', 'stage3'),
      }
    },
    backbone={
      'phases.joint.duration': f'{BACKBONE_STEPS} steps',
      'phases.joint.learning_rate': 0.2,
      'phases.joint.warmup': '10%',
    },
    arms={'standard': Arm(NO_ORDER), 'easy_weighted': Arm(RECIPE)},
    budgets=(STEPS,),
    budget_of='joint',
    seeds=range(8),
  )
