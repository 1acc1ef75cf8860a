import dataclasses

import numpy as np
import pytest

from mecl_jax.data import dataset
from mecl_jax.errors import UserError


def _split(labels, prefix='train', shape=(2, 2, 1)):
  labels = np.asarray(labels, np.int32)
  images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
  return dataset.Split(images, labels, dataset.position_ids(prefix, len(labels)))


def _dataset(train):
  return dataset.Dataset('some', ('a', 'b'), train, train, train)


def test_position_ids_sort_like_numbers():
  assert dataset.position_ids('train', 3).tolist() == ['train_00000', 'train_00001', 'train_00002']
  many = dataset.position_ids('test', 100_001)
  assert many[0] == 'test_000000' and (many[1:] > many[:-1]).all()


def test_sorted_split_sorts_all_arrays_by_id():
  images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
  split = dataset.sorted_split(images, np.array([5, 6, 7], np.uint8), np.array(['c', 'a', 'b']))
  assert split.ids.tolist() == ['a', 'b', 'c']
  assert split.labels.tolist() == [6, 7, 5] and split.labels.dtype == np.int32
  assert split.images.ravel().tolist() == [1, 2, 0]


def test_repeated_ids_are_counted():
  images = np.zeros((4, 1, 1, 1), np.uint8)
  with pytest.raises(UserError, match=r"2 of 4 repeat, first 'a'"):
    dataset.sorted_split(images, np.zeros(4), np.array(['b', 'a', 'a', 'a']))


@pytest.mark.parametrize('size', [1, 7, 10, 33, 95])
def test_validation_has_exact_size_and_proportions(size):
  whole = _split([0] * 50 + [1] * 30 + [2] * 20)
  train, validation = dataset.split_validation(whole, size, seed=3)
  assert len(validation) == size and len(train) == 100 - size
  assert sorted([*train.ids, *validation.ids]) == whole.ids.tolist()
  expected = np.array([50, 30, 20]) * size / 100
  assert (np.abs(np.bincount(validation.labels, minlength=3) - expected) < 1).all()
  assert (train.ids[1:] > train.ids[:-1]).all()
  assert (validation.ids[1:] > validation.ids[:-1]).all()


def test_validation_images_stay_with_their_ids():
  whole = _split([0, 1] * 20)
  _, validation = dataset.split_validation(whole, 10, seed=0)
  where = np.searchsorted(whole.ids, validation.ids)
  np.testing.assert_array_equal(validation.images, whole.images[where])
  np.testing.assert_array_equal(validation.labels, whole.labels[where])


def test_cut_depends_only_on_the_seed():
  whole = _split([0, 1] * 100)
  cut = [dataset.split_validation(whole, 50, seed)[1].ids.tolist() for seed in (0, 0, 1)]
  assert cut[0] == cut[1] != cut[2]


def test_a_share_is_cut_for_validation():
  whole = _split([0, 1] * 100)
  by_share, by_number = (dataset.split_validation(whole, size, 0)[1].ids for size in (0.1, 20))
  assert by_share.tolist() == by_number.tolist()
  assert len(dataset.split_validation(_split([0, 1] * 2), 0.1, 0)[1]) == 1


def test_class_without_training_examples_is_rejected():
  with pytest.raises(
    UserError, match=r'is 26, which leaves no training example of 1 classes \(label 1 has 1\)'
  ):
    dataset.split_validation(_split([0] * 50 + [1, 2]), 26, seed=0)


@pytest.mark.parametrize('size', [0, -1, 4, 5])
def test_impossible_validation_size_is_rejected(size):
  with pytest.raises(
    UserError, match=rf'validation_size is {size}, with 4 training examples.*1 to 3'
  ):
    dataset.split_validation(_split([0, 1, 0, 1]), size, seed=0)


def test_statistics_cover_all_pixels():
  images = np.random.default_rng(0).integers(0, 256, (5000, 3, 4, 3), dtype=np.uint8)
  images[..., 1] = images[..., 1] // 7 + 100
  mean, std = dataset.channel_statistics(images)
  pixels = images.reshape(-1, 3) / 255
  assert mean.dtype == std.dtype == np.float32 and mean.shape == std.shape == (3,)
  np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-6)
  np.testing.assert_allclose(std, pixels.std(0), rtol=1e-6)


def test_constant_channel_has_nonzero_deviation():
  mean, std = dataset.channel_statistics(np.full((3, 2, 2, 1), 51, np.uint8))
  np.testing.assert_allclose(mean, [0.2])
  np.testing.assert_allclose(std, [1 / 255], rtol=1e-6)


@pytest.mark.parametrize('field', ['images', 'labels', 'ids'])
def test_fingerprint_changes_with_every_field(field):
  train = _split([0, 1, 0, 1])
  changed = getattr(train, field).copy()
  changed[2] = 'other' if field == 'ids' else changed[2] + 1
  other = dataclasses.replace(train, **{field: changed})
  assert _dataset(train).fingerprint == _dataset(_split([0, 1, 0, 1])).fingerprint
  assert _dataset(train).fingerprint != _dataset(other).fingerprint
  assert len(_dataset(train).fingerprint) == 16


def test_fingerprint_changes_with_the_image_shape():
  train = _split([0, 1], shape=(4, 2, 1))
  turned = dataclasses.replace(train, images=train.images.reshape(2, 2, 4, 1))
  assert _dataset(train).fingerprint != _dataset(turned).fingerprint


def _assemble(train, test, classes=('a', 'b')):
  return dataset.assemble(
    'some', dataset.Parts(train, test, classes), validation_size=2, split_seed=0
  )


def test_assembled_sizes_and_shapes():
  data = _assemble(_split([0, 1] * 4, shape=(5, 4, 3)), _split([1, 0, 1], 'test', (5, 4, 3)))
  assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 3)
  assert data.image_shape == (5, 4, 3) and data.num_classes == 2


@pytest.mark.parametrize(
  ('train', 'test', 'message'),
  [
    (_split([0, 1] * 4), _split([]), 'the test split is empty'),
    (_split([0, 1] * 4), _split([0, 2, 7]), r'2 of 3 test labels lie outside 0\.\.1, first 2'),
    (_split([0, -1] * 4), _split([0]), r'4 of 8 training labels lie outside'),
    (_split([0, 1] * 4), _split([0], shape=(2, 2, 3)), r'\(2, 2, 1\).*\(2, 2, 3\)'),
  ],
)
def test_splits_that_do_not_match_are_rejected(train, test, message):
  with pytest.raises(UserError, match=message):
    _assemble(train, test)
