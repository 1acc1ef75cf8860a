import dataclasses
import http.server
import importlib.util
import io
import socket
import tarfile
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mecl_jax import data
from mecl_jax.data import network, official, prepare, tfds_source
from mecl_jax.errors import UserError
from tests.data import tiny_sets

TRAIN = tiny_sets.images(40, (32, 32, 3))
TEST = tiny_sets.images(10, (32, 32, 3), seed=1)


def _binary(images):
  rows = [bytes([i % 10]) + image.transpose(2, 0, 1).tobytes() for i, image in enumerate(images)]
  return b''.join(rows)


@pytest.fixture
def archive(tmp_path):
  """The official CIFAR-10 archive, of 40 and 10 images."""
  names = '\n'.join(f'class{i}' for i in range(10)) + '\n\n'
  members = {'batches.meta.txt': names.encode(), 'test_batch.bin': _binary(TEST)}
  for i in range(5):
    rows = _binary(TRAIN)
    members[f'data_batch_{i + 1}.bin'] = rows[i * len(rows) // 5 : (i + 1) * len(rows) // 5]
  path = tmp_path / 'web' / 'cifar-10-binary.tar.gz'
  path.parent.mkdir()
  with tarfile.open(path, 'w:gz') as tar:
    for name, content in members.items():
      info = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))
  return path


@pytest.fixture
def use_url(monkeypatch):
  def use(url):
    source = dataclasses.replace(official.SOURCES['cifar10'], url=url)
    monkeypatch.setitem(official.SOURCES, 'cifar10', source)

  return use


def _load(folder, name='cifar10'):
  return data.load(name=name, data_dir=folder, validation_size=10)


def test_cifar10_is_fetched_and_prepared(archive, serve, use_url, tmp_path):
  use_url(serve(archive.parent) + archive.name)
  loaded = _load(tmp_path / 'data')
  np.testing.assert_array_equal(loaded.test.images, TEST)
  where = [int(i.removeprefix('train_')) for i in loaded.train.ids]
  np.testing.assert_array_equal(loaded.train.images, TRAIN[where])
  np.testing.assert_array_equal(loaded.train.labels, np.array(where) % 10)
  assert loaded.class_names[9] == 'class9' and len(loaded.train) == 30


def test_what_was_prepared_is_the_stock_set(archive, serve, use_url, tmp_path):
  use_url(serve(archive.parent) + archive.name)
  _load(tmp_path)
  builder = tfds.builder('cifar10', data_dir=tmp_path)
  assert builder.is_prepared() and str(builder.version) == builder.data_path.name
  records = builder.as_data_source('train')
  assert sorted(records[0]) == ['id', 'image', 'label']
  hashed = sorted(range(40), key=tfds.core.hashing.Hasher('train').hash_key)  # by integer keys
  assert [record['id'].decode() for record in records] == [f'train_{i:05d}' for i in hashed]


class _Broken(http.server.BaseHTTPRequestHandler):
  """Promises a million bytes, sends a thousand; then closes, or falls silent."""

  silent = None

  def do_GET(self):
    self.send_response(200)
    self.send_header('Content-Length', '1000000')
    self.end_headers()
    self.wfile.write(b'x' * 1000)
    if self.silent:
      self.silent.wait(20)

  def log_message(self, *args):
    pass


def test_a_broken_download_leaves_nothing_and_can_be_repeated(archive, serve, use_url, tmp_path):
  use_url(serve(handler=_Broken) + 'a.tar.gz')
  with pytest.raises(UserError, match=r'cifar10 could not be prepared: .*try again') as caught:
    _load(tmp_path)
  assert '\n' not in str(caught.value)
  assert tfds_source.find('cifar10', tmp_path) is None
  use_url(serve(archive.parent) + archive.name)
  np.testing.assert_array_equal(_load(tmp_path).test.images, TEST)


def test_a_stalled_download_gives_up(serve, use_url, tmp_path, monkeypatch):
  monkeypatch.setattr(network, '_SOCKET_SECONDS', 0.5)
  silent = threading.Event()
  handler = type('Stalled', (_Broken,), {'silent': silent})
  use_url(serve(handler=handler) + 'a.tar.gz')
  begin = time.monotonic()
  with pytest.raises(UserError, match='could not be prepared'):
    _load(tmp_path)
  assert time.monotonic() - begin < 10
  silent.set()


def test_no_network_is_one_line_with_the_ways_out(tmp_path, monkeypatch):
  monkeypatch.setattr(network, '_PROBE_SECONDS', 0.5)
  released = threading.Event()

  def hang(*args, **kwargs):
    released.wait(20)
    raise socket.gaierror

  monkeypatch.setattr(socket, 'getaddrinfo', hang)
  with pytest.raises(UserError) as caught:
    _load(tmp_path / 'data')
  released.set()
  message = str(caught.value)
  for part in ('neither prepared in', 'www.cs.toronto.edu', 'data_dir=', 'arrays=', 'connected'):
    assert part in message
  assert '\n' not in message and not (tmp_path / 'data').exists()


def test_misspelt_name(tmp_path):
  with pytest.raises(UserError, match=r'nor a data set of TFDS; did you mean .*cifar10'):
    _load(tmp_path, 'cifra10')
  with pytest.raises(UserError, match='its catalog lists them all'):
    _load(tmp_path, 'zzzzzzzz')


def test_misspelt_name_of_a_prepared_set(prepare_tiny, tmp_path):
  records = list(tiny_sets.records(TRAIN))
  prepare_tiny(tiny_sets.features(with_id=False), {'train': records}, name='birdsong')
  with pytest.raises(UserError, match='did you mean birdsong'):
    _load(tmp_path, 'birdsnog')


@pytest.fixture
def tensorflow(monkeypatch):
  """Returns a function that lets TensorFlow look installed, or not."""
  find_spec = importlib.util.find_spec

  def pretend(installed):
    found = importlib.util.find_spec('json') if installed else None
    monkeypatch.setattr(
      prepare.importlib.util,
      'find_spec',
      lambda name, *rest: found if name == 'tensorflow' else find_spec(name, *rest),
    )

  return pretend


class StockSet(tfds.core.GeneratorBasedBuilder):
  """A registered set for the path that leaves everything to TFDS."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features.FeaturesDict(tiny_sets.features(with_id=False))
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples(TRAIN), 'test': self._generate_examples(TEST)}

  def _generate_examples(self, images):
    yield from tiny_sets.records(images)


def test_other_sets_need_tensorflow(tensorflow, tmp_path):
  tensorflow(installed=False)
  with pytest.raises(UserError, match=r'pip install tensorflow.*arrays=FILE\.npz'):
    _load(tmp_path, 'stock_set')
  tensorflow(installed=True)
  assert len(_load(tmp_path, 'stock_set').train) == 30


def test_a_set_to_be_fetched_by_hand(tensorflow, tmp_path, monkeypatch):
  def ask(self, dl_manager):
    raise AssertionError('Put the files\nin the manual folder.')

  monkeypatch.setattr(StockSet, '_split_generators', ask)
  tensorflow(installed=True)
  with pytest.raises(UserError, match='could not be prepared: Put the files; try again'):
    _load(tmp_path, 'stock_set')


def test_a_config_that_is_none(tensorflow, tmp_path):
  tensorflow(installed=True)
  with pytest.raises(UserError, match='TFDS cannot build stock_set/none: '):
    _load(tmp_path, 'stock_set/none')


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  with pytest.raises(UserError, match='cannot prepare digits in'):
    _load(tmp_path / 'file' / 'data', 'digits')
