"""One device and eight train the same network."""

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
from mecl_jax.commands.train import train
from tests import toys
from tests.blank_pictures import leave_blank
Figure.savefig = leave_blank
toys.add_network()
c = config.read(pathlib.Path(sys.argv[1]))
c.strategy = sys.argv[3]
train(c, pathlib.Path(sys.argv[2]), console=Console(quiet=True))
print(jax.local_device_count())
"""


def run(count, fields, folder, strategy):
  """Trains on `count` virtual CPU devices."""
  flags = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={count}'
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, fields, folder, strategy],
    check=True,
    text=True,
    capture_output=True,
    cwd=pathlib.Path(__file__).parents[2],
    env={**os.environ, 'XLA_FLAGS': flags},
  )
  assert int(done.stdout) == count


@pytest.mark.stacks
def test_three_devices_that_do_not_divide_evaluation(toy_config, tmp_path):
  toy_config.batch_size = 24
  toy_config.curriculum.order = 'none'  # so that no teacher is trained
  fields = tmp_path / 'config.json'
  fields.write_text(toy_config.to_json())
  run(3, fields, tmp_path / 'three', 'joint')
  assert result(tmp_path / 'three')[0].shape == (80, 3, 4)


def everything_at_once(c):
  """Sets the fields that send more from the host, or keep more on the device."""
  c.curriculum.teacher = 'learning_speed'
  c.curriculum.per_exit = 'scaled'
  c.curriculum.exit_factors = (0.5, 1.0, 2.0)
  c.curriculum.sample_weights = 'survivors'
  c.distillation.weight = 0.5
  c.model.head, c.model.head_width = 'cascade_mlp', 8  # with dropout


def result(workdir):
  with np.load(workdir / 'predictions.npz') as predictions:
    return predictions['test_logits'], json.loads((workdir / 'summary.json').read_text())['exits']


@pytest.mark.slow
@pytest.mark.parametrize(
  ('strategy', 'changes'),
  [
    ('classifier_wise', {}),
    ('joint', {}),
    ('joint', {'curriculum.sample_weights': 'l2w_den', 'distillation.feature_weight': 0.1}),
  ],
)
def test_one_and_eight_devices_agree(toy_config, tmp_path, strategy, changes):
  """In float64, whose rounding errors are far below the effect of a mistake."""
  toy_config.batch_size = 24
  toy_config.model.dtype = 'float64'
  everything_at_once(toy_config)
  toy_config.update_from_flattened_dict(changes)
  fields = tmp_path / 'config.json'
  fields.write_text(toy_config.to_json())
  run(1, fields, tmp_path / 'one', strategy)
  run(8, fields, tmp_path / 'eight', strategy)
  one, rows = result(tmp_path / 'one')
  eight, other = result(tmp_path / 'eight')
  assert one.dtype == np.float64
  np.testing.assert_allclose(eight, one, rtol=1e-9, atol=1e-9)
  for a, b in zip(rows, other, strict=True):
    assert a['accuracy'] == b['accuracy'] and a['macs'] == b['macs']


def test_batch_that_devices_cannot_share_is_rejected(monkeypatch):
  monkeypatch.setattr(devices.jax, 'local_devices', lambda: [None] * 3)
  with pytest.raises(UserError, match='batch_size is 20; it must be a multiple of 3 devices'):
    devices.make_mesh(20)
