import json
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mecl_jax import data
from mecl_jax.data import cache, tfds_source
from mecl_jax.errors import UserError
from tests.data import tiny_sets

TRAIN, TEST = tiny_sets.images(12), tiny_sets.images(6, seed=1)


@pytest.fixture
def tiny(prepare_tiny):
  """Returns a function that prepares a set whose records are not in the order of their ids."""

  def prepare(features=None, **options):
    splits = {
      split: tiny_sets.records(images, [f'{split}_{i:05d}' for i in range(len(images))])
      for split, images in (('train', TRAIN), ('test', TEST))
    }
    return prepare_tiny(features or tiny_sets.features(), splits, **options)

  return prepare


def _load(tmp_path, name='tiny', **options):
  return data.load(name=name, data_dir=tmp_path, validation_size=3, **options)


def test_set_without_builder_class_is_read(tiny, tmp_path):
  tiny()
  loaded = _load(tmp_path)
  assert loaded.class_names == ('cat', 'dog', 'elk') and loaded.image_shape == (6, 5, 3)
  np.testing.assert_array_equal(loaded.test.images, TEST)
  assert loaded.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
  where = [int(i[-5:]) for i in loaded.train.ids]
  np.testing.assert_array_equal(loaded.train.images, TRAIN[where])
  assert sorted([*loaded.train.ids, *loaded.validation.ids]) == [
    f'train_{i:05d}' for i in range(12)
  ]


def test_records_and_arrays_give_the_same_set(tiny, tmp_path):
  tiny()
  np.savez(
    tmp_path / 'own.npz',
    train_images=TRAIN,
    train_labels=np.arange(12) % 3,
    test_images=TEST,
    test_labels=np.arange(6) % 3,
  )
  own = data.load(name='own', arrays=tmp_path / 'own.npz', validation_size=3)
  assert own.fingerprint == _load(tmp_path).fingerprint


def test_records_without_ids_are_numbered(prepare_tiny, tmp_path):
  splits = {'train': tiny_sets.records(TRAIN), 'test': tiny_sets.records(TEST)}
  folder = prepare_tiny(tiny_sets.features(with_id=False), splits)
  loaded = _load(tmp_path)
  records = tfds.builder_from_directory(folder).as_data_source('test')
  np.testing.assert_array_equal(loaded.test.images, [record['image'] for record in records])
  assert loaded.test.ids.tolist() == [f'test_{i:05d}' for i in range(6)]


def test_second_load_comes_from_the_cache(tiny, tmp_path, monkeypatch):
  tiny()
  first = _load(tmp_path)
  monkeypatch.setattr(tfds_source, '_records', None)
  assert _load(tmp_path).fingerprint == first.fingerprint


def test_set_prepared_again_is_decoded_again(tiny, tmp_path):
  folder = tiny()
  _load(tmp_path)
  files = len(list(cache.directory().iterdir()))
  for record in folder.glob('*array_record*'):
    os.utime(record, ns=(1, 1))
  _load(tmp_path)
  assert (files, len(list(cache.directory().iterdir()))) == (2, 4)


def test_newest_version_is_found(tiny, tmp_path):
  for version in ('1.2.0', '1.10.0', '1.9.9'):
    tiny(version=version)
  (tmp_path / 'tiny' / 'incomplete.X_2.0.0').mkdir()
  (tmp_path / 'tiny' / 'incomplete.X_2.0.0' / 'dataset_info.json').write_text('{}')
  (tmp_path / 'tiny' / '3.0.0').mkdir()  # no info: never finished
  assert tfds_source.find('tiny', tmp_path).name == '1.10.0'
  assert tfds_source.find('other', tmp_path) is None


def test_config_must_be_unique_or_named(tiny, tmp_path):
  tiny(config='large')
  assert len(_load(tmp_path, 'tiny').test) == len(_load(tmp_path, 'tiny/large').test) == 6
  tiny(config='small')
  assert tfds_source.find('tiny/small', tmp_path).parent.name == 'small'
  with pytest.raises(UserError, match='several configs; choose one of: tiny/large, tiny/small'):
    _load(tmp_path, 'tiny')


def test_default_data_dir(monkeypatch, tmp_path):
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  assert tfds_source.default_data_dir() == tmp_path
  monkeypatch.delenv('TFDS_DATA_DIR')
  monkeypatch.setenv('HOME', '/somewhere')
  assert str(tfds_source.default_data_dir()) == '/somewhere/tensorflow_datasets'


def test_slices_are_read_and_unknown_rejected(tiny, tmp_path):
  tiny()
  loaded = _load(tmp_path, train_split='train[:9]', test_split='train[9:]')
  assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (6, 3, 3)
  for split in ('validation', 'train[', 'train[:0]', 'train[9:3]', 'all[:3]'):
    with pytest.raises(UserError, match=r'it has test \(6\), train \(12\)'):
      _load(tmp_path, test_split=split)


def test_unknown_label_is_rejected(prepare_tiny, tmp_path):
  features = tiny_sets.features(with_id=False, coarse=tfds.features.ClassLabel(num_classes=2))
  records = [(i, {**record, 'coarse': 0}) for i, record in tiny_sets.records(TRAIN)]
  prepare_tiny(features, {'train': records, 'test': records})
  with pytest.raises(
    UserError, match=r"no class label 'species'; valid for data.label: coarse, label"
  ):
    _load(tmp_path, label='species')


def test_set_without_images_is_rejected(prepare_tiny, tmp_path):
  features = {'text': tfds.features.Text(), 'label': tfds.features.ClassLabel(num_classes=2)}
  prepare_tiny(features, {'train': [(0, {'text': 'a', 'label': 0})]})
  with pytest.raises(UserError, match="no uint8 image feature 'image'; it has label, text"):
    _load(tmp_path)


def test_images_of_two_sizes_are_rejected(prepare_tiny, tmp_path):
  images = [*TRAIN[:3], TRAIN[0][:4]]
  splits = {split: tiny_sets.records(images) for split in ('train', 'test')}
  prepare_tiny(tiny_sets.features(with_id=False), splits)
  with pytest.raises(UserError, match=r'have one size, but train has.*\(4, 5, 3\)'):
    _load(tmp_path)


def test_another_file_format_is_rejected(tiny, tmp_path):
  folder = tiny()
  info = json.loads((folder / 'dataset_info.json').read_text())
  info['fileFormat'] = 'tfrecord'
  (folder / 'dataset_info.json').write_text(json.dumps(info))
  with pytest.raises(UserError, match=r"as tfrecord.*file_format='array_record'"):
    _load(tmp_path)


@pytest.mark.parametrize('file', ['dataset_info.json', 'features.json'])
def test_damaged_description_is_rejected(tiny, tmp_path, file):
  (tiny() / file).write_text('{"name": ')
  with pytest.raises(UserError, match=f'{file} cannot be read.*prepare the set again'):
    _load(tmp_path)


@pytest.mark.parametrize('damage', ['cut', 'overwritten', 'gone'])
def test_damaged_records_are_rejected(tiny, tmp_path, damage):
  (record,) = tiny().glob('*-train.array_record*')
  content = bytearray(record.read_bytes())
  content[200:260] = b'x' * 60
  if damage == 'gone':
    record.unlink()
  else:
    record.write_bytes(content if damage == 'overwritten' else content[: len(content) // 2])
  with pytest.raises(UserError, match=r'the record files of .* cannot be read: ') as caught:
    _load(tmp_path)
  assert '\n' not in str(caught.value)


@pytest.mark.skipif(
  'MECL_CIFAR_DIR' not in os.environ,
  reason='MECL_CIFAR_DIR is not set to a TFDS folder with the whole cifar10',
)
def test_real_cifar10():
  loaded = data.load(name='cifar10', data_dir=os.environ['MECL_CIFAR_DIR'], validation_size=5000)
  assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (45_000, 5_000, 10_000)
  assert (np.bincount(loaded.train.labels) == 4500).all()
  assert (np.bincount(loaded.validation.labels) == 500).all()
  assert (np.bincount(loaded.test.labels) == 1000).all()
  assert loaded.class_names[:3] == ('airplane', 'automobile', 'bird')
  whole = np.concatenate([loaded.train.images, loaded.validation.images])
  mean, std = data.channel_statistics(whole)
  np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=1e-4)
  np.testing.assert_allclose(std, [0.2470, 0.2435, 0.2616], atol=1e-4)


@pytest.mark.parametrize(
  ('old', 'new', 'message'),
  [
    ('"numClasses": "3"', '"numClasses": "1000000000"', 'tiny has 1,000,000,000 classes; it must'),
    ('features.', 'nothing.', 'cannot be read: .*; prepare the set again'),
  ],
)
def test_impossible_features_are_rejected(tiny, tmp_path, old, new, message):
  path = tiny() / 'features.json'
  assert old in path.read_text()
  path.write_text(path.read_text().replace(old, new))
  for names in path.parent.glob('*.labels.txt'):
    names.unlink()
  with pytest.raises(UserError, match=message) as error:
    _load(tmp_path)
  assert '\n' not in str(error.value)
