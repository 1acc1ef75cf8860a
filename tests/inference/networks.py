"""Small networks, and images for them."""

import numpy as np

from mecl_jax.evaluation import predict
from mecl_jax.evaluation.predictions import Predicted
from tests import toys
from tests.models import networks

NETWORKS = {
  'conv': {'backbone': toys.NETWORK},
  'cascade': {'backbone': toys.NETWORK, 'head': 'cascade_conv'},
  'msdnet': {'backbone': 'msdnet3', 'exits': ('stage1',), 'head': 'msdnet'},
}
IMAGES = np.random.default_rng(1).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
LABELS = np.random.default_rng(2).integers(0, 5, len(IMAGES))


def build(name='conv', **changes):
  toys.add_network()
  return networks.build(**{**NETWORKS[name], **changes})


def predicted(model):
  """Predictions of the network for the images, as a validation split."""
  return Predicted('validation', predict(model, IMAGES), LABELS)
