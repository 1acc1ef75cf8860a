"""Networks small enough for tests."""

import numpy as np

from mecl_jax import models

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def build(**changes):
  settings = {
    'backbone': 'resnet8',
    'exits': ('stage1', 'stage2'),
    'head': 'conv',
    'num_classes': 5,
    'image_shape': (8, 8, 3),
    'width': 4,
    'head_width': 6,
    'mean': [0.4, 0.5, 0.6],
    'std': [0.2, 0.25, 0.3],
    'seed': 0,
  }
  return models.build(**{**settings, **changes})
