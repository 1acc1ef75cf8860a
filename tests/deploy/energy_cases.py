"""Splits and devices for the tests of simulated energy."""

import numpy as np

from mecl_jax.deploy.energy import Device
from mecl_jax.evaluation.predictions import Predicted

COSTS = (1.0, 1.0, 8.0)
NIGHT = np.repeat([10.0, 0.0], 30)  # as much income as the last exit costs, and then none


def split(name, right=(0.9, 0.9, 1.0), examples=200):
  """Returns a split of two classes whose exits are right on these shares of the images."""
  labels = np.arange(examples) % 2
  wrong = np.random.default_rng(len(name)).permuted(
    np.stack([np.arange(examples) >= round(share * examples) for share in right]), axis=1
  )
  predictions = (labels[:, None] + wrong.T) % 2
  return Predicted(name, 4.0 * np.eye(2)[predictions], labels)


def device(**changes):
  settings = {'costs': COSTS, 'wake': 0.0, 'capacity': 40.0, 'level': 20.0, 'income': NIGHT}
  return Device(**settings | changes)
