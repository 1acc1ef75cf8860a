"""The optimiser of `configs/cifar10_fast.py`: SGD or Muon, with lookahead or without.

Both optimisers have a search with equally many trials over two numbers: the learning rate, with the
same values, and the factor of it for biases (of batch norm with SGD; of all but hidden kernels with
Muon). Validation chooses, by the mean over the early exits. `muon_lookahead` takes the values that
were found for `muon`. The network is a quarter as wide as that of the recipe, images have 16x16
pixels, and 5,000 of them train it for 6.4 passes.
"""

from experiments.paired.study import Arm, Study

RATES = {'phases.joint.learning_rate': [0.03, 0.1, 0.3, 1.0, 3.0]}
BIASES = 'phases.joint.bias_rate'
MUON = {'phases.joint.optimizer': 'muon', 'phases.joint.weight_decay': 0.1}
LOOKAHEAD = {'phases.joint.lookahead': 5}
PAIRS = [('muon_lookahead', 'muon')]


def get_study():
  return Study(
    common={
      'strategy': 'joint',
      'batch_size': 128,
      'data.train_split': 'train[:20%]',
      'data.validation_size': 5000,
      'data.image_size': 16,
      'augment.crop': 2,
      'augment.flip_alternates': True,
      'curriculum.order': 'none',
      'model.width': 4,
      'model.backbone': 'speedrun',
      'model.head': 'linear',
      'exit_weights': (0.2, 0.3, 1.0),
      'phases.joint.schedule': 'linear',
      'phases.joint.warmup': '20%',
      'phases.joint.momentum': 0.85,
      'phases.joint.weight_decay': 1.3e-3,
      'phases.joint.label_smoothing': 0.2,
      'logging.validate_every': '0 steps',
      'report.page': False,
    },
    settings={'cifar10': {}},
    arms={
      'standard': Arm(space={**RATES, BIASES: [1.0, 8.0, 64.0]}),
      'muon': Arm(MUON, space={**RATES, BIASES: [0.05, 0.3, 2.0]}),
      'muon_lookahead': Arm(MUON | LOOKAHEAD, like='muon'),
    },
    budgets=(250,),
    budget_of='joint',
    seeds=range(8),
    search_seeds=(100,),
  )
