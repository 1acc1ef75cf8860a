import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import train
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.models import pretrained
from mecl_jax.training import initial_weights as weights
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.networks import load_network_for
from mecl_jax.training.run import set_up_run
from tests.toys import make_arrays, make_config

QUIET = Console(quiet=True)


def resnet_config(arrays_file):
  c = make_config(arrays_file)
  c.model.backbone = 'resnet8'
  return c


@pytest.fixture(scope='module')
def trained(toy_file, tmp_path_factory):
  """A run of a ResNet that has ended, whose weights others take."""
  workdir = tmp_path_factory.mktemp('trained')
  c = resnet_config(toy_file)
  c.model.exits, c.model.head = ('stage1',), 'conv'
  train(c, workdir, console=QUIET)
  return workdir


@pytest.fixture
def beginning(toy_file, trained):
  """A configuration whose network starts from those weights."""
  c = resnet_config(toy_file)
  c.model.pretrained = str(trained)
  c.model.exits, c.model.head = ('stage1', 'stage2'), 'conv'
  return c


def opened(c, workdir):
  with Interruption() as interruption:
    return set_up_run(resolve(c), workdir, QUIET, interruption)


def begun(c, workdir):
  run = opened(c, workdir)
  return run, weights.load_initial_weights(run)


def test_weights_of_another_run_are_loaded(beginning, trained, tmp_path):
  fresh = pretrained.named(opened(beginning, tmp_path).model)
  run, message = begun(beginning, tmp_path)
  theirs = pretrained.named(load_network_for(run, trained))
  for name, variable in pretrained.named(run.model).items():
    same = np.array_equal(variable[...], theirs.get(name, fresh[name])[...])
    assert same, name
  assert run.config.model.preprocessing == 'run'
  assert message.endswith('; fresh: heads.stage2')


def test_another_split_of_the_data_is_reported(beginning, tmp_path):
  assert 'another training split' not in begun(beginning, tmp_path)[1]
  beginning.data.split_seed = 1
  assert 'another training split of toy' in begun(beginning, tmp_path)[1]


def test_pretrained_backbone_keeps_its_final_exit(beginning, trained, tmp_path):
  beginning.phases.backbone.duration = '0 steps'
  summary = train(beginning, tmp_path, console=QUIET)
  assert summary['steps'] == 12
  ours, theirs = (load_predictions(d / 'predictions.npz') for d in (tmp_path, trained))
  np.testing.assert_allclose(
    ours['test_logits'][:, -1], theirs['test_logits'][:, -1], rtol=1e-5, atol=1e-6
  )


def test_pretrained_run_is_read_only_once(beginning, trained, tmp_path):
  gone = tmp_path / 'gone'
  shutil.copytree(trained, gone)
  beginning.model.pretrained = str(gone)
  train(beginning, tmp_path / 'run', console=QUIET)
  shutil.rmtree(gone)
  (tmp_path / 'run' / 'summary.json').unlink()
  assert train(beginning, tmp_path / 'run', console=QUIET)['complete']


def test_classifier_of_other_classes_must_be_trained(trained, tmp_path):
  np.savez(tmp_path / 'five.npz', **make_arrays(train=200, test=50, classes=5))
  c = resnet_config(tmp_path / 'five.npz')
  c.data.name, c.model.pretrained, c.model.exits = 'five', str(trained), ()
  c.strategy = 'joint'
  assert begun(c, tmp_path)[1].endswith('fresh: heads.final')
  c.strategy, c.model.exits = 'classifier_wise', ('stage1',)
  c.phases.backbone.duration = '0 steps'
  with pytest.raises(UserError, match=r'no weights for heads\.final.*duration must be above'):
    train(c, tmp_path / 'run', console=QUIET)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'model.pretrained': 'imagnet'}, "'imagnet'; choose imagenet, .*work directory of a run"),
    ({'model.backbone': 'resnet14'}, r'30 are missing \(stage1_block2.*pretrained_skip'),
    ({'model.width': 8}, 'have another shape .*stem'),
    ({'model.preprocessing': 'tf'}, 'needs 3 channels.*model.input_channels=3'),
    ({'curriculum.teacher': 'cross_validated'}, 'were not trained on the examples'),
    ({'model.pretrained': 'x.safetensors', 'model.backbone': 'vit_b16'}, 'x.*no such file'),
    ({'model.pretrained': 'imagenet'}, 'model.backbone with model.pretrained.*densenet121'),
    (
      {'model.preprocessing': 'run', 'model.pretrained': 'x.safetensors'},
      'must be its work directory',
    ),
    ({'model.preprocessing': 'tensorflow'}, 'dataset, caffe, tf, torch, run'),
    ({'model.pretrained': '', 'phases.backbone.duration': '0 steps'}, "'0 steps'.*above 0"),
    (
      {'phases.backbone.duration': '0 steps', 'curriculum.teacher': 'learning_speed'},
      'needs a backbone that trains',
    ),
  ],
)
def test_incompatible_weights_are_rejected(beginning, tmp_path, changes, message):
  beginning.update_from_flattened_dict(changes)
  with pytest.raises(UserError, match=message) as error:
    train(beginning, tmp_path, console=QUIET)
  assert '\n' not in str(error.value)


def test_untrained_classifier_cannot_score(trained, tmp_path):
  np.savez(tmp_path / 'five.npz', **make_arrays(train=200, test=50, classes=5))
  c = resnet_config(tmp_path / 'five.npz')
  c.model.pretrained, c.strategy = str(trained), 'mixed'
  c.phases.backbone.duration = '0 steps'
  with pytest.raises(UserError, match='before it is used'):
    train(c, tmp_path / 'run', console=QUIET)


def test_phase_that_rounds_to_no_step_is_rejected(toy_config, tmp_path):
  toy_config.phases.backbone.duration = '0.01 epochs'
  with pytest.raises(UserError, match='less than one step of phase backbone'):
    train(toy_config, tmp_path, console=QUIET)


@pytest.mark.slow
def test_gray_images_keep_pixels_of_three_channels(toy_config, tmp_path):
  toy_config.model.input_channels, toy_config.model.preprocessing = 3, 'torch'
  first = train(toy_config, tmp_path / 'first', console=QUIET)
  toy_config.model.pretrained, toy_config.model.preprocessing = str(tmp_path / 'first'), 'auto'
  toy_config.phases.backbone.duration = '0 steps'
  second = train(toy_config, tmp_path / 'second', console=QUIET)
  assert second['exits'][-1]['accuracy'] == first['exits'][-1]['accuracy']
  (tmp_path / 'second/summary.json').unlink()
  assert train(toy_config, tmp_path / 'second', console=QUIET)['steps'] == 12


def test_pixels_are_normalised_as_configured(toy_config, tmp_path):
  toy_config.model.preprocessing = 'torch'
  toy_config.model.input_channels = 3
  model = opened(toy_config, tmp_path).model
  np.testing.assert_allclose(model.mean[...], [0.485, 0.456, 0.406])
  white = np.full((1, 8, 8, 1), 255, np.uint8)
  assert model.features(white, ('stage1',))[0].shape == (1, 8, 8, 4)
