"""Whole runs on image files and on images that a program gives."""

import dataclasses
import importlib

import numpy as np
from PIL import Image
import pytest

import mecl_jax
from mecl_jax import data
from mecl_jax.commands.describe import describe
from mecl_jax.commands.difficulty import score_difficulty
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import train
from mecl_jax.data import rows
from mecl_jax.errors import UserError
from mecl_jax.training.log import make_console
from tests.data import image_files
from tests.toys import make_arrays


@pytest.fixture(autouse=True)
def _private_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def _write(arrays, root):
  """Writes arrays as PNG files, whose names have their order."""
  for role in ('train', 'test'):
    for number, label in enumerate(arrays[f'{role}_labels']):
      folder = root / role / str(label)
      folder.mkdir(parents=True, exist_ok=True)
      image = arrays[f'{role}_images'][number]
      Image.fromarray(image[..., 0]).save(folder / f'{number:04d}.png')
  return root


def _sorted_by_class(arrays):
  """Returns the arrays in the order of the paths of `_write`."""
  found = {}
  for role in ('train', 'test'):
    order = np.argsort(arrays[f'{role}_labels'], kind='stable')
    for what in ('images', 'labels'):
      found[f'{role}_{what}'] = arrays[f'{role}_{what}'][order]
  return found


def _pairs(arrays, role):
  return list(zip(arrays[f'{role}_images'], arrays[f'{role}_labels'], strict=True))


def _results(workdir):
  with np.load(workdir / 'predictions.npz') as arrays:
    return {name: arrays[name] for name in arrays.files if 'logits' in name}


def _assert_equal_results(ours, theirs):
  ours, theirs = _results(ours), _results(theirs)
  assert ours.keys() == theirs.keys() and ours
  for name in ours:
    np.testing.assert_array_equal(ours[name], theirs[name])


def _digits():
  """Returns 400 handwritten digits of scikit-learn."""
  found = data.load(name='digits', validation_size=0.1)
  digits = {'train': found.train.take(np.arange(300)), 'test': found.test.take(np.arange(100))}
  images = {f'{role}_images': split.images for role, split in digits.items()}
  return images | {f'{role}_labels': split.labels for role, split in digits.items()}


@pytest.mark.parametrize(
  ('make', 'large'),
  [
    (make_arrays, False),
    pytest.param(make_arrays, True, marks=pytest.mark.slow),
    pytest.param(_digits, False, marks=pytest.mark.slow),
  ],
)
def test_files_and_objects_train_as_arrays_of_the_same_pixels(
  toy_config, tmp_path, make, large, monkeypatch, capsys
):
  """Also if they stay in a file, and are streamed to the device."""
  original = make()
  arrays = _sorted_by_class(original)
  count = len(arrays['train_labels']) - 40
  np.savez(tmp_path / 'arrays.npz', **arrays)
  toy_config.data.arrays = str(tmp_path / 'arrays.npz')
  toy_config.data.placement = 'host' if large else 'auto'
  train(toy_config, tmp_path / 'of-arrays', console=make_console())
  if large:
    monkeypatch.setattr(rows, 'MOST_MEMORY', 0)
    toy_config.data.placement = 'auto'
  toy_config.data.arrays = ''
  toy_config.data.name = 'cifar10'  # the default
  parts = mecl_jax.from_source(*(_pairs(arrays, role) for role in ('train', 'test')))
  train(toy_config, tmp_path / 'of-pairs', console=make_console(), data=parts)
  _assert_equal_results(tmp_path / 'of-pairs', tmp_path / 'of-arrays')
  assert f'images: {count} training' in capsys.readouterr().out
  toy_config.data.folder = str(_write(original, tmp_path / 'photos'))
  train(toy_config, tmp_path / 'of-files', console=make_console())
  _assert_equal_results(tmp_path / 'of-files', tmp_path / 'of-arrays')
  assert f'photos: {count} training' in capsys.readouterr().out


@pytest.fixture
def given(toy_config, tmp_path):
  """A run that was trained on images that a program gave, and these images."""
  arrays = make_arrays()
  parts = mecl_jax.from_source(*(_pairs(arrays, role) for role in ('train', 'test')))
  toy_config.data.arrays = ''
  train(toy_config, tmp_path / 'run', console=make_console(), data=parts)
  return tmp_path / 'run', parts


def test_run_on_given_images_is_opened_with_them_only(given, toy_config, capsys):
  workdir, parts = given
  with pytest.raises(UserError, match=r'give them again, with the argument data=mecl_jax\.from_s'):
    evaluate(workdir, console=make_console())
  assert evaluate(workdir, console=make_console(), data=parts)['complete']
  other = parts._replace(train=parts.train.take(np.arange(100)))
  with pytest.raises(UserError, match='was made with other data'):
    evaluate(workdir, console=make_console(), data=other)
  with pytest.raises(UserError, match='was made with other data'):  # though the run has ended
    train(toy_config, workdir, console=make_console(), data=other)
  assert train(toy_config, workdir, console=make_console(), data=parts)['complete']
  describe(workdir, console=make_console())  # needs no images
  assert 'the data are not used' in capsys.readouterr().out


def test_run_is_opened_with_a_loaded_data_set(toy_config, own):
  """Also if the configuration says where the data are."""
  fields = {key: toy_config.data[key] for key in ('name', 'arrays', 'validation_size')}
  loaded = data.load(**fields)
  assert evaluate(own, toy_config, console=make_console(), data=loaded)['complete']
  other = dataclasses.replace(loaded, test=loaded.test.take(np.arange(9)))
  with pytest.raises(UserError, match='was made with other data: the fingerprint of validation'):
    evaluate(own, data=other)
  with pytest.raises(UserError, match='was made with other data: the fingerprint of validation'):
    train(toy_config, own, data=other)


def test_folder_may_move_and_keeps_its_name_with_the_configuration_of_the_run(toy_config):
  toy_config.data.update(name='cifar10', arrays='', folder='photos')
  before = resolve(toy_config)
  before.data.folder = 'moved/pictures'
  assert resolve(before).data.name == 'photos'
  toy_config.data.folder = 'moved/pictures'
  assert resolve(toy_config).data.name == 'pictures'


@pytest.mark.parametrize('name', ['energy', 'evaluate', 'export', 'latency', 'offload'])
def test_pair_of_sources_is_one_line(tmp_path, name):
  if name in ('export', 'offload'):
    pytest.importorskip('jax2onnx', reason='the extra export is not installed')
  command = getattr(importlib.import_module(f'mecl_jax.commands.{name}'), name)
  with pytest.raises(UserError, match=r'data is a tuple; give mecl_jax\.from_source\(train, test'):
    command(tmp_path, data=([], []))


@pytest.mark.parametrize('command', [train, score_difficulty])
def test_source_without_from_source_is_one_line(toy_config, tmp_path, command):
  arguments = (toy_config, tmp_path / 'run') if command is train else (tmp_path / 'run', toy_config)
  with pytest.raises(UserError, match=r'data is a list; give mecl_jax\.from_source\(train, test'):
    command(*arguments, data=[])
  assert not (tmp_path / 'run').exists()


def test_folder_that_changed_is_other_data(toy_config, tmp_path):
  toy_config.data.arrays = ''
  root = _write(make_arrays(), tmp_path / 'photos')
  toy_config.data.folder = str(root)
  train(toy_config, tmp_path / 'run', console=make_console())
  next(root.glob('train/0/*.png')).unlink()
  with pytest.raises(UserError, match='was made with other data: the fingerprint of the training'):
    evaluate(tmp_path / 'run', console=make_console())


@pytest.mark.slow
def test_photos_of_mixed_sizes_and_formats_are_learned(toy_config, tmp_path, capsys):
  toy_config.data.arrays = ''
  toy_config.data.folder = str(image_files.write(tmp_path / 'photos', 500, sides=(20, 90)))
  toy_config.data.folder_size = 16
  summary = train(toy_config, tmp_path / 'run', console=make_console())
  assert summary['exits'][-1]['accuracy'] > 0.9
  printed = capsys.readouterr().out
  assert 'toy: 410 training, 40 validation, 50 test images, 16x16x3, 2 classes' in printed
  assert 'pixels to 16x16' in printed
