"""CIFAR-100: classifier-wise Multi-Exit Curriculum Learning on a ResNet-32.

  python -m mecl_jax.main --config=configs/cifar100.py

`--config.data.label=coarse_label` learns the 20 superclasses instead. `:short` has a tenth of
the epochs, `:smoke` is the same program made small, `:paper` has the curriculum of the paper.
"""

from mecl_jax import config


def get_config(variant=''):
  config.check_variant(variant, ('short', 'smoke', 'paper', 'paper-smoke'))
  c = config.default()
  c.data.name = 'cifar100'
  c.model.backbone = 'resnet32'
  if 'paper' not in variant:
    config.make_recommended(c)
  if 'smoke' in variant:
    config.make_small(c)
  if variant == 'short':
    config.make_short(c)
  return c
