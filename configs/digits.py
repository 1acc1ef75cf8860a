"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, nothing to download.

A minute on two CPU cores:

  python -m mecl_jax.main --config=configs/digits.py

`:short` has a tenth of the epochs, `:paper` has the curriculum of the paper.
"""

from mecl_jax import config


def get_config(variant=''):
  config.check_variant(variant, ('short', 'paper'))
  c = config.default()
  c.data.name = 'digits'
  c.data.validation_size = 200
  c.augment.crop = 1
  c.augment.flip = False
  c.model.backbone = 'resnet8'
  c.batch_size = 64
  c.phases.backbone.duration = '60 epochs'
  c.phases.heads.duration = '60 epochs'
  c.phases.joint.duration = '60 epochs'
  if variant != 'paper':
    config.make_recommended(c)
  if variant == 'short':
    config.make_short(c)
  return c
