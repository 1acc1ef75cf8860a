"""`configs/cifar10_fast.py` on tiny images: its network, its flips and its averages are resumed."""

import pathlib
import runpy
import signal

import numpy as np
import pytest

from mecl_jax import data
from mecl_jax.models.whitening import whitening_kernel
from mecl_jax.training.networks import load_network
from tests.commands.test_resume import assert_same, finish, result, start, wait_for_step
from tests.runs import run, stopped_at
from tests.toys import make_arrays, write_config_file

RECIPE = pathlib.Path(__file__).parents[2] / 'configs' / 'cifar10_fast.py'


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
  """Returns a function that makes the configuration, for images of 12x12 pixels."""
  arrays = tmp_path_factory.mktemp('images') / 'toy.npz'
  np.savez(arrays, **make_arrays(side=12))

  def make(variant='smoke'):
    c = runpy.run_path(str(RECIPE))['get_config'](variant)
    c.data.name, c.data.arrays, c.data.train_split = 'toy', str(arrays), 'train'
    c.data.validation_size, c.batch_size = 40, 20
    c.model.width, c.model.head_width = 1, 4
    c.phases.joint.duration = '14 steps'  # a pass is 10 steps
    c.report.page = False
    return c

  return make


@pytest.fixture(scope='module')
def whole(recipe, tmp_path_factory):
  """The work directory of a run that was not stopped."""
  workdir = tmp_path_factory.mktemp('whole')
  run(recipe(), workdir)
  return workdir


@pytest.mark.slow
@pytest.mark.parametrize('step', [3, 12])
def test_stopped_run_ends_the_same(recipe, whole, step, tmp_path):
  """Step 3 is before the first pull of lookahead, step 12 in the second pass."""
  with stopped_at(step):
    run(recipe(), tmp_path)
  run(recipe(), tmp_path)
  assert_same(result(whole), result(tmp_path))


@pytest.mark.slow
def test_killed_run_ends_the_same(recipe, whole, tmp_path):
  c = recipe()
  c.checkpoints.every_seconds = 0.0
  file, workdir = write_config_file(c, tmp_path / 'fast.py'), tmp_path / 'run'
  for step in (2, 7, 12):
    process = start(file, workdir)
    wait_for_step(workdir, step, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
  assert 'resuming at step' in finish(file, workdir)
  assert_same(result(whole), result(workdir))


def test_whitening_is_saved_and_never_trained(recipe, whole):
  """A network that is loaded without its data has the filters of the training images."""
  c, model = recipe(), load_network(whole)
  arrays, held_out = c.data.arrays, c.data.validation_size
  train = data.load(name='toy', arrays=arrays, validation_size=held_out).train
  kernel = model.backbone.stages['stem'].whitening.kernel[...]
  fitted = whitening_kernel([np.asarray(model.preprocess(train.images))], 2)
  np.testing.assert_array_equal(kernel, fitted.astype(np.float32))
