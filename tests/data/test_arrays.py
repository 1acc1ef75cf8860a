import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from mecl_jax import data
from mecl_jax.errors import UserError


def _arrays(**changes):
  generator = np.random.default_rng(0)
  arrays = {
    'train_images': generator.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8),
    'train_labels': np.arange(12, dtype=np.uint8) % 3,
    'test_images': generator.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
    'test_labels': np.arange(6) % 3,
  }
  return {key: value for key, value in (arrays | changes).items() if value is not None}


@pytest.fixture
def write(tmp_path):
  def write(**changes):
    np.savez(tmp_path / 'own.npz', **_arrays(**changes))
    return tmp_path / 'own.npz'

  return write


def _load(path, **options):
  return data.load(name='own', arrays=path, validation_size=3, **options)


def test_examples_without_ids_are_numbered(write):
  loaded = _load(write())
  want = _arrays()
  ids = [*loaded.train.ids, *loaded.validation.ids]
  assert sorted(ids) == [f'train_{i:05d}' for i in range(12)]
  where = [int(i[-5:]) for i in loaded.train.ids]
  np.testing.assert_array_equal(loaded.train.images, want['train_images'][where])
  np.testing.assert_array_equal(loaded.train.labels, want['train_labels'][where])
  np.testing.assert_array_equal(loaded.test.images, want['test_images'])
  assert loaded.class_names == ('0', '1', '2') and loaded.train.labels.dtype == np.int32


def test_grey_images_get_a_channel(write):
  images = _arrays()
  path = write(
    train_images=images['train_images'][..., 0], test_images=images['test_images'][..., 0]
  )
  assert _load(path).image_shape == (4, 4, 1)


def test_examples_are_sorted_by_own_ids(write):
  ids = np.array([f'img{i:02d}' for i in range(12)])[::-1]
  names = np.array(['cat', 'dog', 'elk'])
  loaded = _load(write(train_ids=ids, class_names=names))
  want = dict(zip(ids.tolist(), _arrays()['train_images'], strict=True))
  assert (loaded.train.ids[1:] > loaded.train.ids[:-1]).all()
  for name, image in zip(loaded.train.ids.tolist(), loaded.train.images, strict=True):
    np.testing.assert_array_equal(image, want[name])
  assert loaded.class_names == ('cat', 'dog', 'elk')


def test_label_is_chosen_by_name(write):
  coarse = {'train_coarse_labels': np.arange(12) % 2, 'test_coarse_labels': np.arange(6) % 2}
  assert _load(write(**coarse), label='coarse_label').num_classes == 2


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'test_labels': None}, 'missing test_labels; the file has test_images, train_images'),
    ({'train_images': np.zeros((12, 4, 4, 3))}, r'uint8.*but is float64 \[12, 4, 4, 3\]'),
    ({'test_images': np.zeros((6, 4), np.uint8)}, r'but is uint8 \[6, 4\]'),
    ({'train_labels': np.zeros(12)}, r'integers \[N\], but is float64 \[12\]'),
    ({'train_labels': np.zeros((12, 3), int)}, r'but is int64 \[12, 3\]'),
    ({'train_labels': np.arange(11) % 3}, 'train arrays differ in length: 12 images, 11 labels'),
    ({'train_ids': np.arange(12)}, 'train_ids must be text'),
    ({'train_ids': np.array(['a'] * 12)}, '11 of 12 repeat'),
    ({'train_labels': np.arange(12) % 3 - 1}, r'4 of 12 train labels lie outside 0\.\.99999'),
    ({'train_labels': np.arange(12) % 3 * 10**9}, r'8 of 12 train labels lie outside 0\.\.99999'),
    ({'train_labels': np.arange(12) % 3 + 2**32}, r'12 of 12 train labels lie outside 0\.\.99999'),
    (
      {'train_labels': np.arange(12) % 3 * 40},
      'label is 80, but there are only 12 training images, with 3 different labels',
    ),
    ({'train_labels': np.zeros(12, int), 'test_labels': np.zeros(6, int)}, 'own has 1 classes; it'),
    ({'train_ids': np.array(['\ud800'] * 12)}, 'ids must be text that UTF-8 can write'),
    (
      {
        f'{role}_images': np.zeros((n, 0, 4, 1), np.uint8)
        for role, n in (('train', 12), ('test', 6))
      },
      r'channels\) are \(0, 4, 1\); they must be from \(1, 1, 1\) to \(16384, 16384, 4096\)',
    ),
    (
      {f'{r}_images': np.zeros((n, 1, 20000), np.uint8) for r, n in (('train', 12), ('test', 6))},
      r'channels\) are \(1, 20000, 1\); they must be from',
    ),
    ({'train_labels': np.arange(12) % 2 * 2}, '1 of 3 classes have no training example: 1'),
    ({'class_names': np.array(['a', 'b', 'c', 'owl'])}, 'no training example: owl'),
    ({'class_names': np.array(['a', 'b'])}, r'4 of 12 training labels lie outside 0\.\.1'),
    ({'class_names': np.arange(3)}, 'class_names must be text'),
    ({'test_labels': np.array([0, 1, 2, 3, 0, 1])}, r'1 of 6 test labels lie outside 0\.\.2'),
    (
      {'train_images': np.zeros((0, 4, 4, 3), np.uint8), 'train_labels': np.zeros(0, int)},
      'train arrays are empty',
    ),
    (
      {'test_images': np.zeros((0, 4, 4, 3), np.uint8), 'test_labels': np.zeros(0, int)},
      'test split is empty',
    ),
  ],
)
def test_bad_arrays_are_rejected_in_one_line(write, changes, message):
  with pytest.raises(UserError, match=message) as caught:
    _load(write(**changes))
  assert '\n' not in str(caught.value)


def test_unreadable_file_is_rejected(tmp_path, write):
  with pytest.raises(UserError, match='does not exist'):
    _load(tmp_path / 'none.npz')
  whole = write().read_bytes()
  for cut in (0, 10, len(whole) // 2, len(whole) - 5):
    (tmp_path / 'cut.npz').write_bytes(whole[:cut])
    with pytest.raises(UserError, match=r'is not a \.npz file: '):
      _load(tmp_path / 'cut.npz')
  (tmp_path / 'text.npz').write_text('hello')
  with pytest.raises(UserError, match=r'is not a \.npz file: '):
    _load(tmp_path / 'text.npz')
  np.save(tmp_path / 'lone.npy', np.zeros(3))
  with pytest.raises(UserError, match=r'is not a \.npz file: '):
    _load(tmp_path / 'lone.npy')
  with pytest.raises(UserError, match='cannot be read: Is a directory'):
    _load(tmp_path)


def test_pickled_objects_are_rejected(tmp_path):
  np.savez(tmp_path / 'own.npz', **_arrays(train_ids=np.array([{}] * 12, object)))
  with pytest.raises(UserError, match=r'is not a \.npz file: .*pickle'):
    _load(tmp_path / 'own.npz')


def test_arrays_need_no_tfds(write):
  code = (
    'import sys; sys.modules["tensorflow_datasets"] = None; from mecl_jax import data; '
    'print(len(data.load(name="own", arrays=sys.argv[1], validation_size=3).train))'
  )
  command = [sys.executable, '-c', code, str(write())]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '9'


def test_size_in_the_header_is_checked_before_reading(tmp_path):
  """One array claims 10 GB, and its compressed zeros are 10 MB: refused without inflating them."""
  path = tmp_path / 'bomb.npz'
  header = {'descr': '|u1', 'fortran_order': False, 'shape': (10**10, 1)}
  with (
    zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive,
    archive.open('train_images.npy', 'w') as member,
  ):
    np.lib.format.write_array_header_1_0(member, header)
    member.write(bytes(1 << 20))
  content = path.read_bytes()
  with zipfile.ZipFile(path) as archive:
    declared = archive.getinfo('train_images.npy').file_size
  path.write_bytes(content.replace(struct.pack('<I', declared), struct.pack('<I', 2**32 - 2)))
  with pytest.raises(UserError, match=r'bomb\.npz is not .*: its arrays have 4,294,967,294'):
    _load(path)
  path.write_bytes(content)
  with pytest.raises(UserError, match=r'\[10000000000, 1\], but has another size'):
    _load(path)


def test_names_of_classes_are_one_line_of_plain_text(write):
  names = np.array(['a\nb\x07', 'lone \ud800', 'x' * 500])
  loaded = _load(write(class_names=names))
  assert loaded.class_names == ('a b\ufffd', 'lone \ufffd', f'{"x" * 99}…')
