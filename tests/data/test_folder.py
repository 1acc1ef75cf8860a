import os

import numpy as np
from PIL import Image
import pytest

from mecl_jax import data
from mecl_jax.data import decoding, rows
from mecl_jax.errors import UserError
from tests.data import image_files


def _load(folder, **options):
  return data.load(name='own', folder=folder, **{'validation_size': 4, **options})


def test_one_tree_is_cut_into_three_splits_by_class(tmp_path):
  found = _load(image_files.write(tmp_path / 'own'), test_size=6)
  assert [len(split) for split in (found.train, found.validation, found.test)] == [14, 4, 6]
  assert found.image_shape == (64, 64, 3) and found.class_names == ('cat', 'dog')
  for split in (found.train, found.validation, found.test):
    assert (split.labels == [name.startswith('dog/') for name in split.ids]).all()
    assert set(np.bincount(split.labels)) == {len(split) // 2}
  ids = np.concatenate([found.train.ids, found.validation.ids, found.test.ids])
  files = (path.relative_to(tmp_path / 'own') for path in (tmp_path / 'own').rglob('*.*'))
  assert sorted(ids) == sorted(path.as_posix() for path in files)
  other = _load(tmp_path / 'own', test_size=6, split_seed=1)
  assert set(other.test.ids) != set(found.test.ids)


@pytest.mark.parametrize(
  ('train', 'validation', 'test'),
  [('train', 'val', 'test'), ('Training', 'validation', 'TESTING'), ('TRAIN', 'Valid', 'Test')],
)
def test_folders_of_splits_are_used(tmp_path, train, validation, test):
  for name, count in ((train, 12), (test, 6), (validation, 4)):
    image_files.write(tmp_path / 'own' / name, count)
  found = _load(tmp_path / 'own')
  assert [len(split) for split in (found.train, found.validation, found.test)] == [12, 4, 6]
  assert found.validation.ids[0] == f'{validation}/cat/0000.png'


def test_a_class_may_be_named_train(tmp_path):
  assert _load(image_files.write(tmp_path / 'own', classes=('car', 'train'))).num_classes == 2


def test_pixels_of_files_of_one_size_are_unchanged(tmp_path):
  """PNG without loss, in the order of the ids; a set of gray images has one channel."""
  images = np.random.default_rng(0).integers(0, 255, (8, 5, 7), dtype=np.uint8)
  for number, image in enumerate(images):
    (tmp_path / 'own' / str(number % 2)).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(tmp_path / 'own' / str(number % 2) / f'{number}.PNG')
  found = _load(tmp_path / 'own', validation_size=2, test_size=2)
  assert found.image_shape == (5, 7, 1) and not found.notes
  for split in (found.train, found.validation, found.test):
    numbers = [int(name[2:-4]) for name in split.ids]
    np.testing.assert_array_equal(split.images[..., 0], images[numbers])


def test_side_is_set_by_the_user(tmp_path):
  found = _load(image_files.write(tmp_path / 'own'), folder_size=12)
  assert found.image_shape == (12, 12, 3)
  assert dict(found.notes)['resized'].endswith('to 12x12')


def test_second_start_decodes_nothing_until_a_file_changes(tmp_path, monkeypatch):
  image_files.write(tmp_path / 'own')
  first = _load(tmp_path / 'own')
  decoded = []
  write = decoding._write
  monkeypatch.setattr(decoding, '_write', lambda *args: decoded.append(1) or write(*args))
  assert _load(tmp_path / 'own').fingerprint == first.fingerprint and not decoded
  Image.new('RGB', (20, 20)).save(tmp_path / 'own' / first.train.ids[0], 'png')
  assert _load(tmp_path / 'own').fingerprint != first.fingerprint and len(decoded) == 1
  assert len(list((tmp_path / 'cache/mecl_jax/data').glob('*.images'))) == 1  # the old one is gone


def test_what_a_killed_process_left_is_removed(tmp_path):
  _load(image_files.write(tmp_path / 'own'))
  (file,) = (tmp_path / 'cache/mecl_jax/data').glob('*.images')
  left = file.with_name(f'.{file.name}.abcd_123.tmp')
  left.write_bytes(b'part')
  file.unlink()
  _load(tmp_path / 'own')
  assert file.exists() and not left.exists()


def test_damaged_cache_is_decoded_again(tmp_path):
  first = _load(image_files.write(tmp_path / 'own'))
  (file,) = (tmp_path / 'cache/mecl_jax/data').glob('*.images')
  content = bytearray(file.read_bytes())
  content[100] ^= 1
  file.write_bytes(content)
  assert _load(tmp_path / 'own').fingerprint == first.fingerprint


def test_large_sets_stay_in_their_file(tmp_path, monkeypatch):
  in_memory = _load(image_files.write(tmp_path / 'own'))
  monkeypatch.setattr(rows, 'MOST_MEMORY', 0)
  in_file = _load(tmp_path / 'own')
  assert isinstance(in_file.validation.images, rows.FileRows)
  np.testing.assert_array_equal(in_file.train.images[:], in_memory.train.images)
  assert in_file.fingerprint == in_memory.fingerprint
  assert in_file.held_out_fingerprint == in_memory.held_out_fingerprint
  assert in_file.train.images_digest == in_memory.train.images_digest
  statistics = [data.channel_statistics(d.train.images) for d in (in_file, in_memory)]
  np.testing.assert_array_equal(*statistics)


def test_unreadable_files_are_left_out_and_named(tmp_path):
  root = image_files.write(tmp_path / 'own')
  whole = _load(root)
  (root / 'cat/a.png').write_bytes(b'hello')
  (root / 'cat/b.jpg').write_bytes((root / 'dog/0001.jpg').read_bytes()[:-200])
  (root / 'dog/c.webp').write_bytes(b'')
  Image.new('1', (10_000, 10_000)).save(root / 'dog/d.png')
  for _ in range(2):  # also from the cache
    found = _load(root)
    assert found.fingerprint == whole.fingerprint
    note = dict(found.notes)['not readable']
    assert note.startswith('4 of 28 files are left out: cat/a.png: not a PNG, JPEG or WebP file;')
    assert 'cat/b.jpg: ' in note and 'dog/d.png' not in note


def test_labels_of_a_file_are_matched_by_path(tmp_path):
  for name, count in (('train', 12), ('test', 6), ('val', 4)):
    image_files.write(tmp_path / 'own' / name, count)
  plain = _load(tmp_path / 'own')
  lines = [
    f'{name},{1 - label}' for name, label in zip(plain.train.ids, plain.train.labels, strict=True)
  ]
  (tmp_path / 'labels.csv').write_text('\n'.join(['id,label', *reversed(lines)]))
  found = _load(tmp_path / 'own', train_labels=str(tmp_path / 'labels.csv'))
  np.testing.assert_array_equal(found.train.labels, 1 - plain.train.labels)
  np.testing.assert_array_equal(found.validation.labels, plain.validation.labels)


def test_links_are_not_followed(tmp_path):
  root = image_files.write(tmp_path / 'own')
  image_files.write(tmp_path / 'other')
  (root / 'cat/one.png').symlink_to(tmp_path / 'other/cat/0000.png')
  (root / 'cat/all').symlink_to(tmp_path / 'other')
  (root / 'owl').symlink_to(tmp_path / 'other/cat')
  found = _load(root)
  assert found.class_names == ('cat', 'dog')
  assert dict(found.notes)['links'] == '3 symbolic, not followed: owl, cat/all, cat/one.png'


def _make(root, change):
  image_files.write(root, classes=('cat',) if change == 'one class' else ('cat', 'dog'))
  match change:
    case 'no folder':
      return root / 'none'
    case 'empty class':
      (root / 'owl').mkdir()
    case 'all damaged' | 'class damaged':
      for path in (root if change == 'all damaged' else root / 'dog').rglob('*.*'):
        path.write_bytes(b'no image')
    case 'class in test only':
      image_files.write(root / 'own/train', classes=('cat', 'dog'))
      image_files.write(root / 'own/test', classes=('cat', 'owl'))
      return root / 'own'
    case 'no files':
      for name in ('cat', 'dog'):
        (root / 'own' / name).mkdir(parents=True)
      return root / 'own'
    case 'empty split':
      image_files.write(root / 'own/train')
      (root / 'own/test/cat').mkdir(parents=True)
      return root / 'own'
    case 'two names' | 'two cases' | 'no train':
      two = {'two names': ('train', 'val', 'validation'), 'two cases': ('train', 'Training')}
      for name in two.get(change, ('Test', 'val')):
        image_files.write(root / 'own' / name)
      return root / 'own'
    case 'name':
      with open(os.fsencode(root) + b'/cat/\xff.png', 'wb'):
        pass
  return root


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ('no folder', r'data\.folder=.*none: there is no such folder'),
    ('one class', r'has 1 folders of classes \(cat\); it must hold CLASS/\*\.jpg, or train/CLASS'),
    ('empty class', r'1 of 3 classes have no PNG, JPEG or WebP file that can be read: owl'),
    ('class damaged', r'1 of 2 classes have no PNG, JPEG or WebP file that can be read: dog'),
    ('all damaged', r'none of 24 files can be read; cat/0000\.png: not a PNG, JPEG or WebP file'),
    ('class in test only', r'test has 1 classes that train lacks: owl'),
    ('no files', r'own has no PNG, JPEG or WebP file; it must hold CLASS/\*\.jpg, or train'),
    ('empty split', r'own/test has no PNG, JPEG or WebP file that can be read; add images'),
    ('two names', r'has both val and validation; keep one of them'),
    ('two cases', r'has both Training and train; keep one of them'),
    ('no train', r'own has the folder Test with folders inside, but no folder train with classes'),
    ('name', r"the name of the file 'cat/\\udcff\.png' is not UTF-8; rename the file"),
  ],
)
def test_folder_that_cannot_be_used_is_one_line(tmp_path, change, message):
  with pytest.raises(UserError, match=message) as error:
    _load(_make(tmp_path / 'own', change))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('count', 'options', 'message'),
  [
    (3, {'validation_size': 0.1}, r'data\.validation_size is 1, .*add images'),
    (24, {'test_size': 24}, r'data\.test_size is 24, with 24 training examples'),
    (24, {'arrays': 'own.npz'}, r'set only one of data\.arrays and data\.folder'),
  ],
)
def test_splits_that_cannot_be_cut_are_one_line(tmp_path, count, options, message):
  with pytest.raises(UserError, match=message):
    _load(image_files.write(tmp_path / 'own', count), **options)


def test_file_without_permission_is_an_error_and_not_left_out(tmp_path, monkeypatch):
  root = image_files.write(tmp_path / 'own')

  def refuse(path, *args, **options):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(Image, 'open', refuse)
  with pytest.raises(UserError, match=r'0000\.\w+ cannot be read: Permission denied'):
    _load(root)
  assert not list((tmp_path / 'cache/mecl_jax/data').glob('[!.]*'))


def test_cache_folder_that_cannot_be_used_is_one_line(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  with pytest.raises(UserError, match=r'cannot be written to .*; set XDG_CACHE_HOME'):
    _load(image_files.write(tmp_path / 'own'))
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(decoding.shutil, 'disk_usage', lambda _: _Usage)
  with pytest.raises(UserError, match='has 0 MB free, and the decoded images need 0 MB'):
    _load(tmp_path / 'own')


class _Usage:
  free = 10
