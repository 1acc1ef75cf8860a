"""A tiny data set, a tiny network that can learn it, and the configuration of its run."""

import numpy as np

from mecl_jax import config
from mecl_jax.models import BACKBONES
from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import ConvNorm
from mecl_jax.models.registry import BackboneEntry

NETWORK = 'toy'


class Toy(Backbone):
  """Three convolutions with batch norm; its exits have the names of those of a ResNet.

  It is traced and compiled in half of the time of a ResNet of eight layers.
  """

  def __init__(self, in_channels, *, width, dtype, rngs):
    stages, before = {}, in_channels
    for name, channels, stride in (
      ('stage1_block1', width, 1),
      ('stage2_block1', 2 * width, 2),
      ('stage3_block1', 4 * width, 2),
    ):
      stages[name] = ConvNorm(before, channels, 3, stride=stride, dtype=dtype, rngs=rngs)
      before = channels
    super().__init__(stages)


def add_network():
  """Makes the tiny network known by its name; not at import, where tests list all networks."""
  BACKBONES.setdefault(NETWORK, BackboneEntry(Toy))


def make_arrays(train=240, test=80, classes=4, side=8, seed=0):
  """Returns images that are the pattern of their class under noise, with their labels."""
  rng = np.random.default_rng(seed)
  patterns = rng.integers(60, 200, (classes, side, side, 1))
  arrays = {}
  for split, count in (('train', train), ('test', test)):
    labels = np.arange(count) % classes
    noisy = patterns[labels] + rng.normal(0, 30, (count, side, side, 1))
    arrays[f'{split}_images'] = noisy.clip(0, 255).astype(np.uint8)
    arrays[f'{split}_labels'] = labels
  return arrays


def make_config(arrays_file):
  """Returns a configuration whose whole run takes seconds, for the data of `make_arrays`."""
  add_network()
  c = config.default()
  c.batch_size = 20
  c.data.name = 'toy'
  c.data.arrays = str(arrays_file)
  c.data.validation_size = 40
  c.augment.crop = 1
  c.augment.flip = False  # the patterns are not symmetric
  c.model.backbone = NETWORK
  c.model.width = 4
  c.model.head = 'linear'
  c.curriculum.start = 0.2
  c.curriculum.step_length = '20%'
  c.logging.every = '5 steps'
  c.logging.validate_every = '0 steps'
  c.report.page = False  # takes longer than the training
  for phase in c.phases.values():
    phase.duration = '12 steps'
    phase.warmup = '0 steps'
  return c


def write_config_file(c, path):
  """Writes a file for --config that holds a configuration; returns its path."""
  fields = path.with_suffix('.json')
  fields.write_text(c.to_json())
  path.write_text(
    'import pathlib\nfrom mecl_jax import config\nfrom tests import toys\n'
    'toys.add_network()\n'
    f'get_config = lambda: config.read(pathlib.Path({str(fields)!r}))\n'
  )
  return path
