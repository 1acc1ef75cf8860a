import os

import numpy as np
import pytest

from mecl_jax.data import cache, dataset


def _split():
  images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3, 1)
  return dataset.Split(images, np.arange(4, dtype=np.int32), dataset.position_ids('train', 4))


def _never():
  raise AssertionError('it is in the cache')


def _assert_same(a, b):
  for field in ('images', 'labels', 'ids'):
    np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert getattr(a, field).dtype == getattr(b, field).dtype


def test_made_once(tmp_path):
  path = tmp_path / 'sub' / 'a.npz'
  _assert_same(cache.load_or_make(path, _split), _split())
  _assert_same(cache.load_or_make(path, _never), _split())


@pytest.mark.parametrize('damage', ['cut', 'flip', 'empty', 'foreign'])
def test_damaged_file_is_made_again(tmp_path, damage):
  path = tmp_path / 'a.npz'
  cache.load_or_make(path, _split)
  content = bytearray(path.read_bytes())
  position = content.index(_split().images.tobytes())
  content[position] ^= 1
  damaged = {'cut': content[: len(content) // 2], 'flip': content, 'empty': b'', 'foreign': b'hi'}
  path.write_bytes(damaged[damage])
  _assert_same(cache.load_or_make(path, _split), _split())
  _assert_same(cache.load_or_make(path, _never), _split())


def test_no_room_for_the_cache_is_no_failure(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  _assert_same(cache.load_or_make(tmp_path / 'file' / 'a.npz', _split), _split())


def test_path_tells_choices_and_file_changes(tmp_path):
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
