import io
import json
import random
import zipfile

import numpy as np
import pytest

from mecl_jax import files
from mecl_jax.errors import DamagedFile, MissingFile, UserError
from mecl_jax.files import read_json, read_npz, write_checked_json, write_json, write_npz

pytestmark = pytest.mark.stacks

ARRAYS = {'ids': np.array(['x', 'yz']), 'score': np.array([0.5, 0.25]), 'epochs': np.array(3)}
FIELDS = {'format': 'test', 'exits': ('a', 'é'), 'rows': [{'p50_ms': 0.1}], 'steps': 12}


def assert_same(found, expected):
  assert set(found) == set(expected)
  for name, array in expected.items():
    assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def flipped(data, bit):
  data = bytearray(data)
  data[bit // 8] ^= 1 << bit % 8
  return bytes(data)


def member(name, header, data=b''):
  """Returns the name and content of an array of a zip archive, whose header may be wrong."""
  file = io.BytesIO()
  np.lib.format.write_array_header_1_0(file, header)
  return name, file.getvalue() + data


def test_npz_is_read_back_without_its_checksum(tmp_path):
  write_npz(tmp_path / 'a.npz', ARRAYS)
  assert_same(read_npz(tmp_path / 'a.npz'), ARRAYS)
  with np.load(tmp_path / 'a.npz', allow_pickle=False) as file:
    assert file.files == [*ARRAYS, 'checksum']


@pytest.mark.parametrize(
  ('array', 'message'), [(np.array([None]), 'has objects'), (np.ones(2), 'no array can have')]
)
def test_arrays_that_cannot_be_saved_are_rejected(array, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    write_npz(tmp_path / 'a.npz', {'checksum': array})
  assert not list(tmp_path.iterdir())


def test_npz_of_earlier_versions_is_read(tmp_path):
  np.savez(tmp_path / 'a.npz', **ARRAYS)
  assert_same(read_npz(tmp_path / 'a.npz'), ARRAYS)


def test_compressed_and_fortran_arrays_are_read(tmp_path):
  arrays = {'a': np.asfortranarray(np.arange(6.0).reshape(2, 3)), 'b': np.zeros((0, 4), np.uint8)}
  np.savez_compressed(tmp_path / 'a.npz', **arrays)
  assert_same(read_npz(tmp_path / 'a.npz'), arrays)


def test_replaced_array_is_rejected(tmp_path):
  """Every member of the archive is whole, but the scores are in another order."""
  write_npz(tmp_path / 'a.npz', ARRAYS)
  with np.load(tmp_path / 'a.npz') as file:
    arrays = dict(file)
  np.savez(tmp_path / 'a.npz', **arrays | {'score': arrays['score'][::-1]})
  with pytest.raises(DamagedFile, match=r'a\.npz is damaged: its checksum .*; start again'):
    read_npz(tmp_path / 'a.npz', again='start again')


def test_flipped_bits_of_an_npz_are_found(tmp_path):
  write_npz(tmp_path / 'a.npz', ARRAYS)
  data, path = (tmp_path / 'a.npz').read_bytes(), tmp_path / 'b.npz'
  found = 0
  for bit in random.Random(0).sample(range(8 * len(data)), 300):
    path.write_bytes(flipped(data, bit))
    try:
      arrays = read_npz(path)
    except DamagedFile as error:
      assert '\n' not in str(error)
      found += 1
    else:  # for example the date of a member
      assert_same(arrays, ARRAYS)
  assert found > 150


@pytest.mark.parametrize(
  'content', [b'', b'PK\x03\x04 cut short', b'no zip', b'PK\x05\x06' + bytes(18), bytes(500)]
)
def test_npz_that_is_no_archive_is_rejected(content, tmp_path):
  (tmp_path / 'a.npz').write_bytes(content)
  if content.startswith(b'PK\x05\x06'):
    assert read_npz(tmp_path / 'a.npz') == {}  # an archive without members
    return
  with pytest.raises(DamagedFile, match=r'a\.npz is not a \.npz file: '):
    read_npz(tmp_path / 'a.npz')


def test_pickled_arrays_are_rejected(tmp_path):
  np.savez(tmp_path / 'a.npz', a=np.array({'a': object}, dtype=object))
  with pytest.raises(DamagedFile, match=r'is not a \.npz file'):
    read_npz(tmp_path / 'a.npz')


def test_archive_that_inflates_beyond_the_limit_is_rejected(tmp_path):
  """The sizes that it declares are compared with the limit before anything is inflated."""
  path = tmp_path / 'a.npz'
  np.savez_compressed(path, a=np.zeros(10**6, np.uint8))
  with pytest.raises(DamagedFile, match=r'its arrays have 1,000,\d+ bytes, more than 10,000'):
    read_npz(path, max_bytes=10_000)
  data = path.read_bytes()
  size = data.index(b'PK\x01\x02') + 24  # of the member, in the directory of the archive
  path.write_bytes(data[:size] + (4 * 10**9).to_bytes(4, 'little') + data[size + 4 :])
  with pytest.raises(DamagedFile, match='its arrays have 4,000,000,000 bytes, more than 1,073'):
    read_npz(path)


@pytest.mark.parametrize(
  'header',
  [
    {'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)},
    {'descr': '<f8', 'fortran_order': False, 'shape': (10**30,)},
    {'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)},
    {'descr': '<U1000000000', 'fortran_order': False, 'shape': (1,)},
  ],
)
def test_header_that_does_not_fit_the_data_is_rejected(header, tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
    archive.writestr(*member('a.npy', header, bytes(8)))
  with pytest.raises(DamagedFile, match=r'is not a \.npz file'):
    read_npz(tmp_path / 'a.npz')


def test_json_is_read_back_without_its_checksum(tmp_path):
  path = tmp_path / 'a.json'
  write_checked_json(path, FIELDS)
  assert read_json(path) == json.loads(json.dumps(FIELDS))
  text = path.read_text()
  assert text.splitlines()[-2].startswith('  "checksum": ')
  path.write_text(json.dumps(dict(reversed(json.loads(text).items()))))  # another layout
  assert read_json(path)['steps'] == 12


def test_json_without_a_checksum_is_read(tmp_path):
  write_json(tmp_path / 'a.json', FIELDS)
  assert read_json(tmp_path / 'a.json')['steps'] == 12


def test_edited_json_names_the_line_to_remove(tmp_path):
  path = tmp_path / 'a.json'
  write_checked_json(path, FIELDS)
  path.write_text(path.read_text().replace('12', '13'))
  with pytest.raises(
    DamagedFile, match=r'a\.json is damaged: .*; if you edited .*"checksum"; start again'
  ):
    read_json(path, again='start again')
  lines = path.read_text().splitlines()
  lines = [line for line in lines if 'checksum' not in line]
  path.write_text('\n'.join(lines).replace('13,', '13'))
  assert read_json(path)['steps'] == 13


def test_flipped_bits_of_a_json_are_found(tmp_path):
  path = tmp_path / 'a.json'
  write_checked_json(path, FIELDS)
  data, expected = path.read_bytes(), read_json(path)
  for bit in range(8 * len(data)):
    path.write_bytes(flipped(data, bit))
    try:
      found = read_json(path)
    except DamagedFile as error:
      assert '\n' not in str(error)
    else:  # a space, or the name of the checksum
      assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
  'content',
  [
    *(b'', b'{', b'[1]', b'1', b'null', b'\xff\xfe', b'{"a": ' + b'9' * 5000 + b'}'),
    *(b'[' * 100_000, b'{"a":' * 100_000),
  ],
)
def test_invalid_json_is_rejected_in_one_line(content, tmp_path):
  (tmp_path / 'a.json').write_bytes(content)
  with pytest.raises(DamagedFile, match=r'a\.json is not a JSON file: ') as caught:
    read_json(tmp_path / 'a.json', again='start again')
  assert '\n' not in str(caught.value) and str(caught.value).endswith('; start again')


def test_large_json_is_not_read(tmp_path, monkeypatch):
  monkeypatch.setattr(files, 'MAX_JSON', 1 << 20)
  (tmp_path / 'a.json').write_text(json.dumps({'a': ' ' * (1 << 20)}))
  with pytest.raises(DamagedFile, match='more than 1 MB'):
    read_json(tmp_path / 'a.json')


@pytest.mark.parametrize('read', [read_json, read_npz])
def test_files_that_cannot_be_opened_are_one_line(read, tmp_path, monkeypatch):
  with pytest.raises(MissingFile, match='a does not exist'):
    read(tmp_path / 'a')
  (tmp_path / 'a').mkdir()
  with pytest.raises(UserError, match='a cannot be read: Is a directory') as caught:
    read(tmp_path / 'a')
  assert not isinstance(caught.value, DamagedFile)

  def denied(*_):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(files, 'open', denied, raising=False)
  with pytest.raises(UserError, match='b cannot be read: Permission denied') as caught:
    read(tmp_path / 'b')
  assert not isinstance(caught.value, DamagedFile)
