import http.server
import socket
import threading
import time

import pytest

from mecl_jax.data import internet
from mecl_jax.errors import UserError


class _Unavailable(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_error(503)

  def log_message(self, *args):
    pass


def _check(url):
  return internet.check_reachable('cifar10', url, 'set data_dir')


def _reason(url):
  """Returns the reason in the error's message."""
  with pytest.raises(UserError, match=r'cifar10 cannot be .* from .*; set data_dir') as caught:
    _check(url)
  return str(caught.value).partition('(')[2].partition(')')[0]


def test_server_that_answers_is_reachable(serve, tmp_path):
  (tmp_path / 'file').write_text('data')
  assert _check(serve(tmp_path) + 'file') is None


def test_server_that_refuses_is_an_error(serve, tmp_path):
  assert _reason(serve(tmp_path) + 'none') == 'it answered with status 404'
  assert _reason(serve(handler=_Unavailable)) == 'it answered with status 503'


def test_closed_port_is_an_error():
  with socket.socket() as unused:
    unused.bind(('127.0.0.1', 0))
    port = unused.getsockname()[1]
  assert _reason(f'http://127.0.0.1:{port}/') == 'no connection: Connection refused'


def test_silent_server_is_an_error_in_time(monkeypatch):
  monkeypatch.setattr(internet, '_PROBE_SECONDS', 0.3)
  with socket.create_server(('127.0.0.1', 0)) as silent:  # it accepts and never answers
    begin = time.monotonic()
    assert _reason(f'http://127.0.0.1:{silent.getsockname()[1]}/').startswith('no ')
  assert time.monotonic() - begin < 5


def test_silent_name_server_is_an_error_in_time(hang_name_look_up):
  begin = time.monotonic()
  assert _reason('http://example.invalid/').startswith('no answer within')
  assert time.monotonic() - begin < 5


def test_proxy_of_the_environment_is_used(serve, tmp_path, monkeypatch):
  monkeypatch.setenv('http_proxy', serve(tmp_path))
  assert _reason('http://example.invalid/file') == 'it answered with status 404'


def test_lock_lets_the_second_caller_wait(tmp_path):
  order = []

  def second():
    with internet.lock('set', tmp_path / 'new'):
      order.append('second')

  with internet.lock('set', tmp_path / 'new'):
    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(1.5)  # longer than the first attempt of the second caller
    order.append('first')
  thread.join(timeout=20)
  assert order == ['first', 'second']
