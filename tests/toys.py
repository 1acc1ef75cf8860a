"""A tiny data set that a tiny network can learn, and the configuration of that network."""

import numpy as np

from mecl_jax import config


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
  c = config.default()
  c.batch_size = 20
  c.data.name = 'toy'
  c.data.arrays = str(arrays_file)
  c.data.validation_size = 40
  c.augment.crop = 1
  c.augment.flip = False  # the patterns are not symmetric
  c.model.backbone = 'resnet8'
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
    'import pathlib\nfrom mecl_jax import config\n'
    f'get_config = lambda: config.read(pathlib.Path({str(fields)!r}))\n'
  )
  return path
