"""Bundles that are not whole are rejected in one line before a model is opened."""

import functools
import json
import operator

import pytest

from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.files import read_bundle
from tests.deploy.bundles import make_fields, make_policy, rewrite, write_files

FILES = {f'segment_{k}.onnx': b'model %d' % k for k in (1, 2, 3)}


@pytest.fixture
def bundle(tmp_path):
  """A bundle with a gate, whose models are not models."""
  gate = make_policy('gate', [0.5, '-inf'], ('margin', 'patience'), [[1.0, 0.5, -1]] * 3)
  fields = make_fields(policies={'accurate': gate, 'fast': make_policy()}, cascade=2)
  return write_files(tmp_path / 'bundle', fields, FILES)


def rejects(folder, *parts):
  """Checks that reading raises one line with all these parts."""
  with pytest.raises(BundleError) as caught:
    read_bundle(folder)
  message = str(caught.value)
  assert '\n' not in message and all(part in message for part in parts), message


def changed(folder, path, value):
  """Writes another value of a field, with a valid checksum; `path` is 'exits.0.name'."""
  fields = json.loads((folder / 'bundle.json').read_text())
  del fields['checksum']
  *parents, last = [int(key) if key.isdecimal() else key for key in path.split('.')]
  parent = functools.reduce(operator.getitem, parents, fields)
  if value is None:
    del parent[last]
  else:
    parent[last] = value
  rewrite(folder, fields)


def test_fields_and_files_are_read(bundle):
  fields, files = read_bundle(bundle)
  assert files == FILES
  assert fields['policies']['accurate']['thresholds'] == [0.5, '-inf']
  assert 'checksum' not in fields


def test_further_files_and_fields_are_ignored(bundle):
  (bundle / 'notes.txt').write_text('mine')
  changed(bundle, 'own', {'anything': None})
  assert read_bundle(bundle)[1] == FILES


def test_missing_file_is_named(bundle):
  (bundle / 'segment_3.onnx').unlink()
  rejects(bundle, 'segment_3.onnx does not exist', 'copy the whole bundle')


def test_folder_instead_of_a_file(bundle):
  (bundle / 'segment_3.onnx').unlink()
  (bundle / 'segment_3.onnx').mkdir()
  rejects(bundle, 'segment_3.onnx does not exist')


def test_missing_bundle(tmp_path):
  rejects(tmp_path / 'none', 'bundle.json does not exist')


@pytest.mark.parametrize('data', [b'', b'model 2', b'model 11', b'modeL 1'])
def test_damaged_or_exchanged_file_is_rejected(bundle, data):
  (bundle / 'segment_1.onnx').write_bytes(data)
  rejects(bundle, 'segment_1.onnx is not the exported file')


def test_every_changed_byte_of_bundle_json_is_found(bundle):
  whole = (bundle / 'bundle.json').read_bytes()
  for place in range(0, len(whole), 13):
    if whole[place : place + 1].isspace():
      continue
    damaged = bytearray(whole)
    damaged[place] ^= 1
    (bundle / 'bundle.json').write_bytes(bytes(damaged))
    rejects(bundle, 'bundle.json')


@pytest.mark.parametrize('data', [b'', b'{', b'[' * 100_000, b'\xff\xfe\x00', b'1' * 10_000 + b'e'])
def test_no_json(bundle, data):
  (bundle / 'bundle.json').write_bytes(data)
  rejects(bundle, 'bundle.json is not JSON')


@pytest.mark.parametrize(
  'text', ['null', '3', '[]', '"mecl_jax bundle"', '{}', '{"format": "zip"}']
)
def test_other_json(bundle, text):
  (bundle / 'bundle.json').write_text(text)
  rejects(bundle, 'is not the bundle.json of a mecl_jax bundle')


@pytest.mark.parametrize('version', [0, 2, '1', [1]])
def test_other_version(bundle, version):
  changed(bundle, 'version', version)
  rejects(bundle, f'has version {version!r}; this program reads 1', 'early_exit.py of that bundle')


@pytest.mark.parametrize(
  'name', ['../segment_1.onnx', '/etc/passwd', 'a/b', 'a\\b', '', '.', 'C:x']
)
def test_path_instead_of_a_file_name(bundle, name):
  fields = json.loads((bundle / 'bundle.json').read_text())
  del fields['checksum']
  fields['files'] = {name: '0' * 64, **fields['files']}
  rewrite(bundle, fields)
  rejects(bundle, 'is not a file name')


BAD_VALUES = {
  'class_names': [['cat'], [], 'cat', ['cat', 1], None],
  'image_shape': [[2, 2], [2, 2, 3, 1], [0, 2, 3], [2.5, 2, 3], [1 << 20, 1 << 20, 3], 4],
  'resizing': ['stretch', None],
  'precision': ['bfloat16', 1],
  'exits': [[], {}, None],
  'exits.0.file': ['segment_9.onnx', 'bundle.json', 1],
  'exits.0.temperature': [0, -1, True, '1', float('nan'), float('inf')],
  'exits.0.takes_before': [True, 0],
  'exits.0.features': [[], [1], [{'name': 'x'}]],
  'exits.0.features.0.dtype': ['object', 'float64'],
  'exits.1.test_accuracy': ['high'],
  'exits.2.features': [[{'name': 'x', 'dtype': 'float32', 'shape': [1]}]],
  'default_policy': ['Fast', 3],
  'policies': [{}, []],
  'policies.accurate.rule': ['confidence', 'margin', 'fixed', ['gate']],
  'policies.accurate.features': [['margin'], ['margin', 'loss'], 'margin'],
  'policies.accurate.coefficients': [[], [[1.0, 0.5]] * 3, [[1, 1, 1]] * 2, [[1, 1, 'inf']] * 3],
  'policies.accurate.thresholds': [
    [0.5],
    [0.5] * 3,
    [0.5, float('nan')],
    [0.5, 'nan'],
    [0.5, None],
  ],
  'policies.fast.thresholds': [[0.5, 'inf'], ['-inf', '-inf'], [float('inf'), 'inf']],
  'policies.fast.test.share': [[0.5, 0.5]],
  'policies.fast.meaning': [3, None],
  'files': [{}, ['segment_1.onnx'], {'segment_1.onnx': 3}],
}


@pytest.mark.parametrize(
  ('path', 'value'), [(path, value) for path, values in BAD_VALUES.items() for value in values]
)
def test_impossible_value_is_rejected(bundle, path, value):
  changed(bundle, path, value)
  rejects(bundle, 'bundle.json')


def test_message_names_the_place(bundle):
  changed(bundle, 'exits.1.temperature', 'warm')
  rejects(bundle, "bundle.json.exits[1].temperature is 'warm', which is not valid")
