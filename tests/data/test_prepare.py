import importlib.util

import pytest
import tensorflow_datasets as tfds

from mecl_jax import data
from mecl_jax.data import prepare, tfds_source
from mecl_jax.errors import UserError
from tests.data import tiny_sets

TRAIN = tiny_sets.images(40)
TEST = tiny_sets.images(10, seed=1)


def _load(folder, name='stock_set'):
  return data.load(name=name, data_dir=folder, validation_size=10)


def test_misspelt_name_gets_a_hint(tmp_path):
  with pytest.raises(UserError, match=r'nor a data set of TFDS; did you mean .*cifar10'):
    _load(tmp_path, 'cifra10')
  with pytest.raises(UserError, match='see the catalogue of TFDS'):
    _load(tmp_path, 'zzzzzzzz')


def test_misspelt_name_of_prepared_set_gets_a_hint(prepare_tiny, tmp_path):
  records = list(tiny_sets.records(TRAIN))
  prepare_tiny(tiny_sets.features(with_id=False), {'train': records}, name='birdsong')
  with pytest.raises(UserError, match='did you mean birdsong'):
    _load(tmp_path, 'birdsnog')


@pytest.fixture
def tensorflow(monkeypatch):
  """Returns a function that pretends that TensorFlow is installed, or not."""
  find_spec = importlib.util.find_spec

  def pretend(installed):
    found = importlib.util.find_spec('json') if installed else None
    monkeypatch.setattr(
      prepare.importlib.util,
      'find_spec',
      lambda name, *rest: found if name == 'tensorflow' else find_spec(name, *rest),
    )

  return pretend


class StockSet(tfds.core.GeneratorBasedBuilder):
  """A registered set that TFDS can prepare."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features.FeaturesDict(tiny_sets.features(with_id=False))
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples(TRAIN), 'test': self._generate_examples(TEST)}

  def _generate_examples(self, images):
    yield from tiny_sets.records(images)


def test_preparing_needs_tensorflow(tensorflow, tmp_path):
  tensorflow(installed=False)
  with pytest.raises(UserError, match=r'pip install tensorflow.*arrays=FILE\.npz'):
    _load(tmp_path)
  tensorflow(installed=True)
  assert len(_load(tmp_path).train) == 30


def test_manual_download_is_one_line(tensorflow, tmp_path, monkeypatch):
  def ask(self, dl_manager):
    raise AssertionError('Put the files\nin the manual folder.')

  monkeypatch.setattr(StockSet, '_split_generators', ask)
  tensorflow(installed=True)
  with pytest.raises(UserError, match='could not be prepared: Put the files; try again'):
    _load(tmp_path)


def test_unknown_config_is_rejected(tensorflow, tmp_path):
  tensorflow(installed=True)
  with pytest.raises(UserError, match='TFDS cannot build stock_set/none: '):
    _load(tmp_path, 'stock_set/none')


def test_folder_that_cannot_be_written_is_rejected(tensorflow, tmp_path):
  (tmp_path / 'file').write_text('in the way')
  tensorflow(installed=True)
  with pytest.raises(UserError, match='cannot write stock_set to'):
    _load(tmp_path / 'file' / 'data')


def test_silent_server_is_one_line(tensorflow, tmp_path, monkeypatch, hang_name_look_up):
  monkeypatch.setattr(StockSet, 'url_infos', {'https://example.invalid/file': None})
  tensorflow(installed=True)
  with pytest.raises(
    UserError, match=r'stock_set cannot be .* example\.invalid \(no answer'
  ) as caught:
    _load(tmp_path)
  assert '\n' not in str(caught.value) and 'data_dir=' in str(caught.value)


def test_failed_preparation_leaves_nothing(tensorflow, tmp_path, monkeypatch):
  def fail(self, images):
    yield from list(tiny_sets.records(images))[:5]
    raise OSError('disk full')

  tensorflow(installed=True)
  with monkeypatch.context() as patch:
    patch.setattr(StockSet, '_generate_examples', fail)
    with pytest.raises(UserError, match='could not be prepared'):
      _load(tmp_path)
  assert tfds_source.find('stock_set', tmp_path) is None
  assert len(_load(tmp_path).train) == 30
