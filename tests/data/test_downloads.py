import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mecl_jax import data
from mecl_jax.data import cache, downloads, internet
from mecl_jax.errors import UserError
from tests.data import archives


def _folder(name='cifar10'):
  return cache.directory() / 'downloads' / name


def _archives(name='cifar10'):
  """Returns the names of the complete archives in the cache folder."""
  return sorted(path.name for path in _folder(name).glob('*.gz'))


def _load(tmp_path, name='cifar10'):
  return data.load(name=name, data_dir=tmp_path / 'none', validation_size=10)


def test_archives_are_downloaded_once(publish, tmp_path, monkeypatch):
  publish('mnist')
  first = _load(tmp_path, 'mnist')
  assert len(_archives('mnist')) == 4
  monkeypatch.setattr(internet, 'check_reachable', None)
  assert _load(tmp_path, 'mnist').fingerprint == first.fingerprint


def test_copied_archives_need_no_network(publish, tmp_path, monkeypatch):
  publish('cifar10')
  archives.write('cifar10', _folder())
  archives.write_checksums(downloads._CHECKSUMS, 'http://example.invalid/', _folder().parent)
  monkeypatch.setattr(internet, 'check_reachable', None)
  assert len(_load(tmp_path).train) == 50


def test_prepared_data_need_no_network(tmp_path, monkeypatch):
  archives.prepare('cifar10', tmp_path / 'none')
  monkeypatch.setattr(downloads, 'fetch', None)
  assert len(_load(tmp_path).train) == 50


def test_damaged_archive_is_downloaded_again(publish, tmp_path):
  publish('cifar10')
  first = _load(tmp_path)
  (file,) = _folder().glob('*.gz')
  file.write_bytes(file.read_bytes()[:100])
  assert _load(tmp_path).fingerprint == first.fingerprint


def test_wrong_checksum_is_one_line(publish, tmp_path):
  folder = publish('cifar10')
  (folder / 'cifar10' / 'cifar-10-binary.tar.gz').write_bytes(b'other')
  with pytest.raises(UserError, match=r'SHA-256 .* is not the published one; try again') as caught:
    _load(tmp_path)
  assert '\n' not in str(caught.value) and not _archives()


class _Broken(http.server.BaseHTTPRequestHandler):
  """Announces a million bytes and sends a tenth of them; then closes, or sends no more."""

  silent = None

  def do_GET(self):
    self.send_response(200)
    self.send_header('Content-Length', '1000000')
    self.end_headers()
    self.wfile.write(b'x' * 100_000)
    if self.silent:
      self.silent.wait(20)

  def log_message(self, *args):
    pass


def test_broken_download_leaves_no_file(publish, serve, tmp_path):
  folder = publish('cifar10')
  archives.write_checksums(downloads._CHECKSUMS, serve(handler=_Broken), folder)
  with pytest.raises(UserError, match=r'cifar10 could not be downloaded: .*try again') as caught:
    _load(tmp_path)
  assert '\n' not in str(caught.value)
  assert [path.name for path in _folder().iterdir() if path.suffix != '.lock'] == []
  publish('cifar10')
  assert len(_load(tmp_path).train) == 50
  assert not list(_folder().glob('tmp*'))


def test_stalled_download_gives_up(publish, serve, tmp_path, monkeypatch):
  folder = publish('cifar10')
  monkeypatch.setattr(downloads, '_STALLED_SECONDS', 0.5)
  silent = threading.Event()
  handler = type('Stalled', (_Broken,), {'silent': silent})
  archives.write_checksums(downloads._CHECKSUMS, serve(handler=handler), folder)
  begin = time.monotonic()
  with pytest.raises(UserError, match=r'could not be downloaded: .*timed out'):
    _load(tmp_path)
  assert time.monotonic() - begin < 10
  silent.set()


def test_no_network_is_one_line_with_remedies(tmp_path, hang_name_look_up):
  with pytest.raises(UserError) as caught:
    _load(tmp_path)
  message = str(caught.value)
  for part in (
    'www.cs.toronto.edu',
    'data_dir=',
    'arrays=',
    'copy cifar-10-binary',
    str(_folder()),
  ):
    assert part in message
  assert '\n' not in message and not (tmp_path / 'none').exists()


def test_folder_that_cannot_be_written_is_one_line(publish, tmp_path, monkeypatch):
  publish('cifar10')
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  with pytest.raises(UserError, match='cannot write cifar10 to'):
    _load(tmp_path)


_LOAD = """
import pathlib, sys
from mecl_jax import data
from mecl_jax.data import downloads
downloads._CHECKSUMS = pathlib.Path(sys.argv[1])
loaded = data.load(name='cifar10', data_dir=sys.argv[2], validation_size=10)
print(loaded.fingerprint)
"""


def _start(tmp_path):
  command = [sys.executable, '-c', _LOAD, str(downloads._CHECKSUMS), str(tmp_path / 'none')]
  return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_download_once(publish, serve, tmp_path):
  folder = publish('cifar10')
  served = []

  class Slow(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args):
      super().__init__(*args, directory=folder)

    def copyfile(self, source, target):
      time.sleep(2)  # long enough for the other process to start
      super().copyfile(source, target)
      served.append(self.path)

    def log_message(self, *args):
      pass

  archives.write_checksums(downloads._CHECKSUMS, serve(handler=Slow), folder)
  processes = [_start(tmp_path) for _ in range(2)]
  outputs = [process.communicate(timeout=120) for process in processes]
  assert [process.returncode for process in processes] == [0, 0], outputs
  assert outputs[0][0] == outputs[1][0] != ''
  assert len(served) <= 2  # the check of the server, and one download


def test_killed_download_leaves_no_archive(publish, serve, tmp_path):
  folder = publish('cifar10')
  silent = threading.Event()
  handler = type('Stalled', (_Broken,), {'silent': silent})
  archives.write_checksums(downloads._CHECKSUMS, serve(handler=handler), folder)
  process = _start(tmp_path)
  while not any(path.stat().st_size for path in _folder().glob('tmp*')):
    time.sleep(0.05)
    assert process.poll() is None
  os.kill(process.pid, signal.SIGKILL)
  process.communicate(timeout=120)
  silent.set()
  assert not _archives()
  publish('cifar10')
  assert len(_load(tmp_path).train) == 50
  assert not list(_folder().glob('tmp*'))
