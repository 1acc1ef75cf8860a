"""The benchmarks fit the package; nothing is timed here."""

import pathlib
import runpy

import numpy as np

from mecl_jax import config

BENCHMARKS = pathlib.Path(__file__).parent.parent / 'benchmarks'


def test_timed_step_trains():
  c = config.default()
  c.model.backbone, c.model.width, c.batch_size = 'resnet8', 4, 8
  step = runpy.run_path(str(BENCHMARKS / 'training.py'))['jax_step'](c)
  first, *_, last = (step() for _ in range(3))
  exits = 3
  assert abs(first - exits * np.log(10)) < exits  # untrained
  assert last != first
