"""CIFAR-10 in seconds on one GPU.

python -m mecl_jax.main --config=configs/cifar10_fast.py
"""

from mecl_jax import config


def get_config(variant=''):
  config.check_variant(variant, ('smoke',))
  c = config.default()
  c.data.name = 'cifar10'
  c.data.validation_size = 1000
  c.strategy = 'joint'
  c.batch_size = 1024
  c.augment.crop = 2
  c.augment.flip_alternates = True
  c.model.backbone = 'speedrun'
  c.model.dtype = 'bfloat16'
  c.curriculum.order = 'none'
  c.exit_weights = (0.2, 0.3, 1.0)
  joint = c.phases.joint
  joint.duration = '16 epochs'
  joint.schedule = 'linear'
  joint.warmup = '20%'
  joint.learning_rate = 1.5
  joint.momentum = 0.85
  joint.weight_decay = 1.3e-3
  joint.bias_rate = 64.0
  joint.label_smoothing = 0.2
  joint.lookahead = 5
  c.logging.validate_every = '0 steps'
  c.checkpoints.every_seconds = float('inf')
  if variant == 'smoke':
    c.data.train_split = 'train[:12%]'
    c.model.width = 4
    c.batch_size = 256
  return c
