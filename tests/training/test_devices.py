"""One device and eight make the same network."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.training import devices

SCRIPT = """
import pathlib, sys
import jax
from matplotlib.figure import Figure
from rich.console import Console
jax.config.update('jax_enable_x64', True)
from mecl_jax import config
from mecl_jax.training.train import train
from tests.blank_pictures import leave_blank
Figure.savefig = leave_blank
for strategy in sys.argv[3:]:
  c = config.read(pathlib.Path(sys.argv[1]))
  c.strategy = strategy
  train(c, pathlib.Path(sys.argv[2]) / strategy, console=Console(quiet=True))
print(jax.local_device_count())
"""


def run(count, fields, folder, strategies=('classifier_wise', 'joint')):
  """Trains on forced CPU devices."""
  flags = f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={count}'
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, fields, folder, *strategies],
    check=True,
    text=True,
    capture_output=True,
    cwd=pathlib.Path(__file__).parents[2],
    env={**os.environ, 'XLA_FLAGS': flags},
  )
  assert int(done.stdout) == count


def test_a_number_of_devices_that_does_not_divide_the_batches_of_evaluation(toy_config, tmp_path):
  toy_config.batch_size = 24
  toy_config.curriculum.order = 'none'  # so that no teacher is trained
  fields = tmp_path / 'config.json'
  fields.write_text(toy_config.to_json())
  run(3, fields, tmp_path / 'three', strategies=('joint',))
  assert result(tmp_path / 'three' / 'joint')[0].shape == (80, 3, 4)


def everything_at_once(c):
  """What sends more from the host, or keeps more on the device, than plain training."""
  c.curriculum.teacher = 'learning_speed'
  c.curriculum.per_exit = 'scaled'
  c.curriculum.exit_factors = (0.5, 1.0, 2.0)
  c.curriculum.sample_weights = 'survivors'
  c.distillation.weight = 0.5
  c.model.head, c.model.head_width = 'cascade_mlp', 8  # with dropout


def result(workdir):
  with np.load(workdir / 'predictions.npz') as predictions:
    return predictions['test_logits'], json.loads((workdir / 'summary.json').read_text())['exits']


def test_one_and_eight_devices_agree(toy_config, tmp_path):
  """In float64, where what rounding leaves is far below what a mistake would make."""
  toy_config.batch_size = 24
  toy_config.model.dtype = 'float64'
  everything_at_once(toy_config)
  fields = tmp_path / 'config.json'
  fields.write_text(toy_config.to_json())
  run(1, fields, tmp_path / 'one')
  run(8, fields, tmp_path / 'eight')
  for strategy in ('classifier_wise', 'joint'):
    one, rows = result(tmp_path / 'one' / strategy)
    eight, other = result(tmp_path / 'eight' / strategy)
    assert one.dtype == np.float64
    np.testing.assert_allclose(eight, one, rtol=1e-9, atol=1e-9)
    for a, b in zip(rows, other, strict=True):
      assert a['accuracy'] == b['accuracy'] and a['macs'] == b['macs']


def test_a_batch_that_devices_cannot_share_is_an_error(monkeypatch):
  monkeypatch.setattr(devices.jax, 'local_devices', lambda: [None] * 3)
  with pytest.raises(UserError, match='batch_size is 20; it must be a multiple of 3 devices'):
    devices.make_mesh(20)
