import os

import numpy as np
import pytest

from mecl_jax.data import cache


def _arrays():
  images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3, 1)
  return {'images': images, 'labels': np.arange(4, dtype=np.int32), 'names': np.array(['a', 'b'])}


def _never():
  raise AssertionError('the arrays are in the cache')


def _assert_same(a, b):
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_array_equal(a[key], b[key])
    assert a[key].dtype == b[key].dtype


def test_arrays_are_made_once(tmp_path):
  path = tmp_path / 'sub' / 'a.npz'
  _assert_same(cache.load_or_make(path, _arrays), _arrays())
  _assert_same(cache.load_or_make(path, _never), _arrays())


@pytest.mark.parametrize('damage', ['cut', 'flip', 'empty', 'foreign'])
def test_damaged_file_is_made_again(tmp_path, damage):
  path = tmp_path / 'a.npz'
  cache.load_or_make(path, _arrays)
  content = bytearray(path.read_bytes())
  position = content.index(_arrays()['images'].tobytes())
  content[position] ^= 1
  damaged = {'cut': content[: len(content) // 2], 'flip': content, 'empty': b'', 'foreign': b'hi'}
  path.write_bytes(damaged[damage])
  _assert_same(cache.load_or_make(path, _arrays), _arrays())
  _assert_same(cache.load_or_make(path, _never), _arrays())


def test_old_file_of_a_killed_process_is_removed(tmp_path):
  old, new = (tmp_path / f'.a.npz.{name}.tmp' for name in ('abcd_123', 'wxyz_789'))
  for path in (old, new):
    path.write_bytes(b'')
  os.utime(old, (1, 1))
  cache.load_or_make(tmp_path / 'a.npz', _arrays)
  assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, 'a.npz']


def test_unwritable_cache_is_not_an_error(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  _assert_same(cache.load_or_make(tmp_path / 'file' / 'a.npz', _arrays), _arrays())


def test_path_changes_with_options_and_files(tmp_path):
  record = tmp_path / 'set-train.array_record'
  record.write_bytes(b'12345')
  first = cache.path_for(tmp_path, 'label', 'train')
  assert first == cache.path_for(tmp_path, 'label', 'train')
  assert first != cache.path_for(tmp_path, 'label', 'test')
  os.utime(record, ns=(1, 1))
  assert first != cache.path_for(tmp_path, 'label', 'train')


def test_directory_follows_xdg(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert cache.directory() == tmp_path / 'mecl_jax' / 'data'
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', '/somewhere')
  assert str(cache.directory()) == '/somewhere/.cache/mecl_jax/data'
