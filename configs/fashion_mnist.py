"""Fashion-MNIST: classifier-wise Multi-Exit Curriculum Learning on a ResNet-20, 28x28 gray images.

  python -m mecl_jax.main --config=configs/fashion_mnist.py

`:short` has a tenth of the epochs, `:smoke` is the same program made small, `:paper` has the
curriculum of the paper.
"""

from mecl_jax import config


def get_config(variant=''):
  config.check_variant(variant, ('short', 'smoke', 'paper', 'paper-smoke'))
  c = config.default()
  c.data.name = 'fashion_mnist'
  c.data.validation_size = 5000
  c.augment.crop = 2
  c.phases.backbone.duration = c.phases.joint.duration = '60 epochs'
  if 'paper' not in variant:
    config.make_recommended(c)
  if 'smoke' in variant:
    config.make_small(c)
  if variant == 'short':
    config.make_short(c)
  return c
