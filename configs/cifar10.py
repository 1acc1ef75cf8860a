"""CIFAR-10: classifier-wise Multi-Exit Curriculum Learning on a ResNet-20.

The recipe for one GPU or TPU:

  python -m mecl_jax.main --config=configs/cifar10.py

A tenth of its epochs, for a first look on a GPU or TPU:

  python -m mecl_jax.main --config=configs/cifar10.py:short

The same program made small, for a laptop (under five minutes on two CPU cores):

  python -m mecl_jax.main --config=configs/cifar10.py:smoke

With the curriculum of the paper instead of the one that docs/results.md found best:

  python -m mecl_jax.main --config=configs/cifar10.py:paper        (or :paper-smoke)
"""

from mecl_jax import config


def get_config(variant=''):
  config.check_variant(variant, ('short', 'smoke', 'paper', 'paper-smoke'))
  c = config.default()
  c.data.name = 'cifar10'
  if 'paper' not in variant:
    config.make_recommended(c)
  if 'smoke' in variant:
    config.make_small(c)
  if variant == 'short':
    config.make_short(c)
  return c
