"""Beside published networks: a ResNet-18 with four exits on CIFAR-100.

How accurate are our exits beside a published table at about equal multiply-accumulates, that of
Gong et al., "Deep Feature Surgery" (ECCV 2024, [arXiv 2407.13986](https://arxiv.org/abs/2407.13986))?
It is not a reproduction. The published code trains for 300 epochs on 50,000 images with
AutoAugment, cutout and more terms in the loss. Here the backbone trains for 20 epochs and then
everything for 45, on 45,000 images that are cropped and mirrored, in bfloat16. Our heads are
separable convolutions like theirs, without attention. The settings are the first that were tried. A
seed takes under four minutes on an H100.
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
