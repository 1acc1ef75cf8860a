import numpy as np
import pytest

from mecl_jax import data
from mecl_jax.errors import UserError
from tests.toys import make_arrays

CLASSES, COUNT = 4, 240


@pytest.fixture
def load(tmp_path):
  np.savez(tmp_path / 'toy.npz', **make_arrays(train=COUNT, classes=CLASSES))
  fixed = {'name': 'toy', 'arrays': tmp_path / 'toy.npz', 'validation_size': 40}
  return lambda **settings: data.load(**fixed, **settings)


@pytest.fixture
def official():
  return make_arrays(train=COUNT, classes=CLASSES)['train_labels']


@pytest.fixture
def human(official):
  """Labels of which every third is wrong."""
  wrong = np.arange(COUNT) % 3 == 0
  return np.where(wrong, (official + 1) % CLASSES, official).astype(np.uint8)


def ids_of(count):
  return np.array([f'train_{i:05d}' for i in range(count)])


def positions(split):
  return np.array([int(name.removeprefix('train_')) for name in split.ids])


def test_labels_in_order(load, human, official, tmp_path):
  np.savez(tmp_path / 'people.npz', worst=human, other=official)
  found = load(train_labels=f'{tmp_path}/people.npz:worst')
  for split in (found.train, found.validation):
    np.testing.assert_array_equal(split.labels, human[positions(split)])
  np.testing.assert_array_equal(found.clean_labels, official[positions(found.train)])
  np.testing.assert_array_equal(found.flipped, positions(found.train) % 3 == 0)
  np.testing.assert_array_equal(found.test.labels, load().test.labels)
  assert found.fingerprint != load().fingerprint


def test_labels_are_matched_by_id(load, human, tmp_path):
  shuffled = np.random.default_rng(0).permutation(COUNT)
  more = np.append(ids_of(COUNT)[shuffled], 'another')
  np.savez(tmp_path / 'people.npz', id=more, label=np.append(human[shuffled], 99))
  found = load(train_labels=f'{tmp_path}/people.npz')
  np.testing.assert_array_equal(found.train.labels, human[positions(found.train)])


@pytest.mark.parametrize('with_ids', [False, True])
def test_csv_equals_npz(load, human, tmp_path, with_ids):
  lines = [f'{name},{label}' if with_ids else str(label)
           for name, label in zip(ids_of(COUNT), human, strict=True)]  # fmt: skip
  lines.insert(0, 'id,label' if with_ids else 'label')
  (tmp_path / 'people.csv').write_text('\n'.join(lines) + '\n')
  np.savez(tmp_path / 'people.npz', label=human)
  found = load(train_labels=f'{tmp_path}/people.csv')
  assert found.fingerprint == load(train_labels=f'{tmp_path}/people.npz').fingerprint


def test_validation_may_have_clean_labels(load, human, official, tmp_path):
  np.savez(tmp_path / 'people.npz', label=human)
  given = load(train_labels=f'{tmp_path}/people.npz')
  clean = load(train_labels=f'{tmp_path}/people.npz', validation_labels='clean')
  assert clean.fingerprint == given.fingerprint
  for other in (clean, load()):  # the split does not depend on the file
    np.testing.assert_array_equal(other.validation.ids, given.validation.ids)
  labels = clean.validation.labels
  np.testing.assert_array_equal(labels, official[positions(clean.validation)])


@pytest.mark.parametrize(
  ('arrays', 'name', 'message'),
  [
    ({'a': np.arange(3)}, ':b', r'has no labels b; choose data\.train_labels=.*:NAME from: a'),
    ({'a': np.arange(3)}, ':a', 'has 3 labels for 240 training examples'),
    ({'a': np.zeros(COUNT)}, ':a', 'must be integers'),
    ({'a': np.full(COUNT, 4)}, ':a', r'240 of 240 labels lie outside 0\.\.3, first 4'),
    ({'a': np.zeros(3, int), 'id': ids_of(3)}, ':a', 'no label for 237 of 240 .* train_00003'),
    ({'a': np.zeros(COUNT, int), 'id': ids_of(3)}, ':a',
     'one id for each of 240 labels'),
    ({'a': np.zeros(2, int), 'id': ['b', 'b']}, ':a', 'without repetition'),
    ({'a': np.array([{}])}, ':a', 'is not a .npz file: Object arrays'),
  ],
)  # fmt: skip
def test_unfit_files_are_rejected(load, tmp_path, arrays, name, message):
  np.savez(tmp_path / 'people.npz', **arrays)
  with pytest.raises(UserError, match=message):
    load(train_labels=f'{tmp_path}/people.npz{name}')


@pytest.mark.parametrize('name', ['people.npz', 'people.csv'])
def test_damaged_files_are_rejected(load, tmp_path, name):
  (tmp_path / name).write_bytes(b'label\nno number\n\xff')
  with pytest.raises(UserError, match=r'is not a \.npz file: |cannot be read: '):
    load(train_labels=f'{tmp_path}/{name}')


def test_missing_file_is_rejected(load, tmp_path):
  with pytest.raises(UserError, match=r'data\.train_labels=.*: there is no file'):
    load(train_labels=f'{tmp_path}/none.npz:label')


def test_path_of_an_unknown_user_is_rejected(load):
  with pytest.raises(UserError, match=r'~nosuchuser/a\.npz: Could not determine home'):
    load(train_labels='~nosuchuser/a.npz')


@pytest.mark.parametrize('text', ['id,label\na,\nb,1\n', 'id,label\n,1\nb,1\n'])
def test_empty_values_of_a_csv_are_rejected(load, tmp_path, text):
  (tmp_path / 'people.csv').write_text(text)
  with pytest.raises(UserError, match=r'1 of 2 values of (id|label) are empty|no label for'):
    load(train_labels=f'{tmp_path}/people.csv')


def test_two_kinds_of_noise_are_rejected(load, human, tmp_path):
  np.savez(tmp_path / 'people.npz', label=human)
  with pytest.raises(UserError, match='set only one of'):
    load(train_labels=f'{tmp_path}/people.npz', label_noise=0.1)
