import numpy as np
import pytest
from sklearn.datasets import load_digits
import tensorflow_datasets as tfds

from mecl_jax import data
from mecl_jax.data import cache, digits
from tests.data import tiny_sets

pytestmark = pytest.mark.stacks


def _load(folder, **options):
  return data.load(name='digits', data_dir=folder, validation_size=150, **options)


def test_every_digit_occurs_once(tmp_path):
  loaded = _load(tmp_path)
  assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (1288, 150, 359)
  assert loaded.image_shape == (8, 8, 1) and loaded.num_classes == 10
  splits = (loaded.train, loaded.validation, loaded.test)
  pixels = np.concatenate([split.images for split in splits])
  assert pixels.min() == 0 and pixels.max() == 255
  back = np.rint(pixels.reshape(-1, 64) / (255 / 16))
  labels = np.concatenate([split.labels for split in splits])
  want_pixels, want_labels = load_digits(return_X_y=True)
  got = sorted(map(tuple, np.column_stack([labels, back]).astype(int).tolist()))
  want = sorted(map(tuple, np.column_stack([want_labels, want_pixels]).astype(int).tolist()))
  assert got == want
  assert loaded.test.ids[0] == 'test_00000' and loaded.test.ids[-1] == 'test_00358'


def test_test_split_is_a_fifth_of_each_class():
  labels = load_digits().target
  test = digits._is_test(labels)
  share = np.bincount(labels[test]) / np.bincount(labels)
  assert (np.abs(share - 0.2) < 0.005).all()


def test_equals_data_prepared_by_tfds(prepare_tiny, tmp_path):
  splits = digits.read()
  features = {
    'id': tfds.features.Text(),
    'image': tfds.features.Image(shape=(8, 8, 1)),
    'label': tfds.features.ClassLabel(num_classes=10),
  }
  records = {
    split: [
      (i, {'id': f'{split}_{i:05d}', 'image': tiny_sets.png(image), 'label': int(label)})
      for i, (image, label) in enumerate(zip(*arrays, strict=True))
    ]
    for split, arrays in splits.items()
  }
  prepare_tiny(features, records, name='digits')
  options = {'train_split': 'train[:80%]', 'test_split': 'train[80%:]'}
  for splits in ({}, options):
    published, prepared = _load(tmp_path / 'none', **splits), _load(tmp_path, **splits)
    assert published.fingerprint == prepared.fingerprint
    assert published.held_out_fingerprint == prepared.held_out_fingerprint
    assert published.class_names == prepared.class_names


def test_nothing_is_written(tmp_path):
  _load(tmp_path / 'none')
  assert not (tmp_path / 'none').exists() and not cache.directory().exists()
