"""Tiny data sets on disk and a local web server; no test needs a network."""

import functools
import http.server
import socket
import threading

import pytest
import tensorflow_datasets as tfds

from mecl_jax.data import downloads, internet
from tests.data import archives


@pytest.fixture(autouse=True)
def _private_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')


@pytest.fixture
def prepare_tiny(tmp_path):
  """Returns a function that prepares a set in `tmp_path` without registering its builder."""

  def prepare(features, splits, *, name='tiny', version='1.0.0', config=None):
    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
      VERSION = tfds.core.Version(version)
      BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

      def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

      def _split_generators(self, dl_manager):
        return {split: iter(records) for split, records in splits.items()}

      def _generate_examples(self):
        raise AssertionError('the splits are given')

    Tiny.name = name
    builder = Tiny(data_dir=tmp_path, config=config, file_format='array_record')
    builder.download_and_prepare()
    return builder.data_path

  return prepare


class _Quiet(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *args):
    pass


@pytest.fixture
def serve():
  """Returns a function that serves a folder, or starts a handler, and returns the URL."""
  servers = []

  def start(folder=None, handler=_Quiet):
    handler = functools.partial(handler, directory=folder) if folder else handler
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    server.daemon_threads = True
    servers.append(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://127.0.0.1:{server.server_port}/'

  yield start
  for server in servers:
    server.shutdown()
    server.server_close()


@pytest.fixture
def publish(serve, tmp_path, monkeypatch):
  """Returns a function that writes and serves archives of a small set, with their registry."""
  folder = tmp_path / 'web'
  monkeypatch.setattr(downloads, '_CHECKSUMS', tmp_path / 'checksums.txt')

  def publish(name):
    archives.write(name, folder / name)
    archives.write_checksums(tmp_path / 'checksums.txt', serve(folder), folder)
    return folder

  return publish


@pytest.fixture
def hang_name_look_up(monkeypatch):
  """Lets look-ups of host names hang, with half a second as the time limit."""
  released = threading.Event()
  monkeypatch.setattr(internet, '_PROBE_SECONDS', 0.5)

  def hang(*args, **kwargs):
    released.wait(20)
    raise socket.gaierror

  monkeypatch.setattr(socket, 'getaddrinfo', hang)
  yield
  released.set()
