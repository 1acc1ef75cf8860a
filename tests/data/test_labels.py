import numpy as np
import pytest

from mecl_jax import data
from mecl_jax.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = {
  f'{role}_images': RNG.integers(0, 256, (n, 4, 4, 1), np.uint8)
  for role, n in (('train', 12), ('test', 6))
}
NUMBERS = {'train_labels': np.arange(12) / 4, 'test_labels': np.arange(6)}
BINARY = {
  'train_labels': RNG.integers(0, 2, (12, 3)).astype(np.uint8),
  'test_labels': RNG.integers(0, 2, (6, 3)) > 0,
}


def load(tmp_path, kind, options=None, **arrays):
  path = tmp_path / 'own.npz'
  np.savez(path, **IMAGES, **arrays)
  return data.load(name='own', arrays=path, validation_size=3, kind=kind, **(options or {}))


@pytest.mark.parametrize('kind', ['numbers', 'binary'])
@pytest.mark.parametrize('options', [{'label_noise': 0.5}, {'train_labels': 'labels.csv'}])
def test_changes_of_class_labels_are_refused_for_other_kinds(tmp_path, kind, options):
  arrays = NUMBERS if kind == 'numbers' else BINARY
  with pytest.raises(UserError, match=rf'data\.{next(iter(options))} changes .* these are {kind}'):
    load(tmp_path, kind, options, **arrays)


def test_unknown_kind_is_rejected(tmp_path):
  with pytest.raises(UserError, match="kind is 'number'; choose one of: classes, binary, numbers"):
    load(tmp_path, 'number', **NUMBERS)


def test_numbers_become_float32_columns(tmp_path):
  loaded = load(tmp_path, 'numbers', **NUMBERS, units=np.array('cm'))
  assert loaded.train.labels.dtype == np.float32 and loaded.train.labels.shape == (9, 1)
  assert (loaded.kind, loaded.units, loaded.class_names) == ('numbers', 'cm', ('target',))
  both = np.concatenate([loaded.train.labels, loaded.validation.labels])
  np.testing.assert_array_equal(np.sort(both[:, 0]), NUMBERS['train_labels'])


def test_binary_labels_keep_their_columns(tmp_path):
  names = np.array(['sky', 'sea', 'sun'])
  loaded = load(tmp_path, 'binary', **BINARY, class_names=names)
  assert loaded.class_names == ('sky', 'sea', 'sun') and loaded.num_classes == 3
  np.testing.assert_array_equal(loaded.test.labels, BINARY['test_labels'].astype(np.uint8))
  where = [int(name[-5:]) for name in loaded.train.ids]
  np.testing.assert_array_equal(loaded.train.labels, BINARY['train_labels'][where])


def test_fingerprint_covers_labels_and_their_shape(tmp_path):
  found = {
    load(tmp_path, 'numbers', **NUMBERS).fingerprint,
    load(tmp_path, 'numbers', **{**NUMBERS, 'train_labels': np.arange(12) / 5}).fingerprint,
    load(tmp_path, 'binary', **BINARY).fingerprint,
  }
  assert len(found) == 3


@pytest.mark.parametrize(
  ('kind', 'key', 'value', 'message'),
  [
    ('numbers', 'train_labels', np.array([1.0] * 11 + [np.nan]), 'not finite .* nan in row 11'),
    ('numbers', 'test_labels', np.full(6, 1e39), '6 of 6 values .* are not finite in float32'),
    ('numbers', 'train_labels', np.array(['a'] * 12), r'must be numbers, \[N\] .* <U1 \[12\]'),
    ('numbers', 'test_labels', np.zeros((6, 2)), 'has 1 columns and test_labels has 2'),
    ('numbers', 'units', np.array([1, 2]), 'units must be one text'),
    ('numbers', 'class_names', np.array(['a', 'b']), 'class_names must be 1 names'),
    ('numbers', 'train_labels', np.arange(11), 'differ in length: 12 images, 11 labels'),
    (
      'binary',
      'train_labels',
      np.full((12, 3), 2),
      '36 of 36 .* neither 0 nor 1, first 2 in row 0',
    ),
    ('binary', 'train_labels', np.arange(12), r'must be 0 or 1, .* but is int64 \[12\]'),
    ('binary', 'train_labels', np.zeros((12, 3)), 'must be 0 or 1, .* but is float64'),
  ],
)
def test_invalid_labels_are_one_line(tmp_path, kind, key, value, message):
  arrays = (NUMBERS if kind == 'numbers' else BINARY) | {key: value}
  with pytest.raises(UserError, match=message) as error:
    load(tmp_path, kind, **arrays)
  assert '\n' not in str(error.value)


def test_numbers_need_arrays():
  with pytest.raises(UserError, match=r'set data\.arrays'):
    data.load(name='cifar10', validation_size=10, kind='numbers')
