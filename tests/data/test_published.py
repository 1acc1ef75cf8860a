import itertools
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mecl_jax import data
from mecl_jax.data import downloads, published
from mecl_jax.errors import UserError
from tests.data import archives

DOWNLOADED = [name for name in published.NAMES if name != 'digits']


@pytest.fixture
def load(publish, tmp_path):
  """Returns a function that loads a small set from its archives."""

  def load(name, **options):
    publish(name)
    options = {'validation_size': 10} | options
    return data.load(name=name, data_dir=tmp_path / 'none', **options)

  return load


def _assert_equal(first, second):
  assert first.fingerprint == second.fingerprint
  assert first.held_out_fingerprint == second.held_out_fingerprint
  assert first.class_names == second.class_names


@pytest.mark.parametrize('name', DOWNLOADED)
def test_equals_data_prepared_by_tfds(load, tmp_path, name):
  archives.prepare(name, tmp_path / 'prepared')
  slices = {'train_split': 'train[:70%]', 'test_split': 'train[42:]+test[:5]'}
  labels = archives.LABELS.get(name, ['label'])
  for label, splits in itertools.product(labels, ({}, slices)):
    options = {'validation_size': 10, 'label': label, **splits}
    prepared = data.load(name=name, data_dir=tmp_path / 'prepared', **options)
    _assert_equal(load(name, **options), prepared)
    assert len(prepared.test) == (23 if splits else 30)


def test_cifar_is_in_the_order_of_its_authors(load):
  loaded, content = load('cifar100'), archives.arrays('cifar100')
  np.testing.assert_array_equal(loaded.test.images, content['test']['image'])
  np.testing.assert_array_equal(loaded.test.labels, content['test']['label'])
  where = [int(i.removeprefix('train_')) for i in loaded.train.ids]
  np.testing.assert_array_equal(loaded.train.images, content['train']['image'][where])
  assert loaded.class_names[99] == 'label99' and len(loaded.train) == 50


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'label': 'species'}, r"no class label 'species'; valid for data.label: label"),
    ({'test_split': 'validation'}, r"no split 'validation'; it has test \(30\), train \(60\)"),
    ({'train_split': 'train['}, r"no split 'train\['; it has"),
    ({'train_split': 'train[:0]'}, r"no split 'train\[:0\]'; it has"),
    ({'train_split': 'train[:99]'}, r"no split 'train\[:99\]'; it has"),
    ({'train_split': 'all[:5]'}, r"no split 'all\[:5\]'; it has"),
  ],
)
def test_unknown_label_or_split_is_rejected(load, options, message):
  with pytest.raises(UserError, match=message):
    load('kmnist', **options)


def test_registry_is_that_of_tfds():
  folder = pathlib.Path(tfds.__file__).parent / 'url_checksums'
  expected = set()
  for name in DOWNLOADED:
    for line in (folder / f'{name}.txt').read_text().splitlines():
      url, _, sha256, file = line.split('\t')
      expected.add((f'{name}/{file}', sha256, url))
  lines = downloads._CHECKSUMS.read_text().splitlines()[1:]
  assert sorted(tuple(line.split(' ')) for line in lines) == sorted(expected)


@pytest.mark.parametrize('name', DOWNLOADED)
def test_labels_are_those_of_tfds(name):
  features = tfds.builder(name).info.features
  labels = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
  assert sorted(published._CIFAR.get(name, ['label'])) == sorted(labels)
  assert ('id' in features) == (name not in published._MNIST)
  if name in published._MNIST:
    assert list(published._MNIST[name]) == features['label'].names
