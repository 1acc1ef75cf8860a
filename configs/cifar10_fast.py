"""CIFAR-10 in a few hundred steps: a network with three exits, for seconds of training on one GPU.

  python -m mecl_jax.main --config=configs/cifar10_fast.py

It follows the fastest published trainings (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single
GPU", 2024, arXiv 2404.00498, and the later variant with Muon): a first layer that whitens patches
of the training images, an identity initialisation, flips that alternate, label smoothing, a
triangular learning rate, half precision. In contrast to them, the accuracy is that of a single
prediction without test-time augmentation, since each exit must answer at its cost; and 1,000 of the
training images are held out, to choose thresholds of early exit.

Muon, its learning rate and lookahead come from the study `fast`, on a network of a quarter of the
width (docs/results/fast.md). `bias_rate` is a quarter of the one there, since the inputs of the
last layers are four times as many here. The full recipe itself has not been tuned, and neither its
accuracy (the goal is 94 % at the final exit) nor its time on a GPU has been measured yet.

`:short` trains a tenth of the steps. `:smoke` trains a quarter of the width on 5,000 images, for a
CPU:

  python -m mecl_jax.main --config=configs/cifar10_fast.py:smoke
"""

from mecl_jax import config


def get_config(variant=''):
  config.check_variant(variant, ('short', 'smoke'))
  c = config.default()
  c.data.name = 'cifar10'
  c.data.validation_size = 1000
  c.strategy = 'joint'
  c.batch_size = 2000
  c.augment.crop = 2
  c.augment.flip_alternates = True
  c.model.backbone = 'speedrun'
  c.model.dtype = 'bfloat16'
  c.exit_weights = (0.2, 0.3, 1.0)  # the final exit keeps its accuracy
  c.curriculum.order = 'none'
  joint = c.phases.joint
  joint.duration = '480 steps'  # 19.6 passes; a multiple of the 16 steps of a call: one compilation
  joint.optimizer = 'muon'
  joint.learning_rate = 0.14
  joint.bias_rate = 0.2
  joint.momentum = 0.85
  joint.weight_decay = 0.1
  joint.schedule = 'linear'
  joint.warmup = '20%'
  joint.label_smoothing = 0.2
  joint.lookahead = 5
  # Nothing stops the device during the seconds of training.
  c.logging.validate_every = '0 steps'
  c.checkpoints.every_seconds = float('inf')
  if variant == 'smoke':
    c.data.train_split = 'train[:12%]'
    c.batch_size = 128
    c.model.width = 4
    joint.duration = '250 steps'
    joint.bias_rate = 0.8
  if variant == 'short':
    config.make_short(c)
  return c
