import http.server
import socket
import threading
import time

import pytest
import requests

from mecl_jax.data import network


class _Unavailable(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_error(503)

  def log_message(self, *args):
    pass


def test_a_server_that_answers(serve, tmp_path):
  (tmp_path / 'file').write_text('data')
  assert network.probe(serve(tmp_path) + 'file') == ''


def test_a_server_that_refuses(serve, tmp_path):
  assert network.probe(serve(tmp_path) + 'none') == 'it answered with status 404'
  assert network.probe(serve(handler=_Unavailable)) == 'it answered with status 503'


def test_a_closed_port():
  with socket.socket() as unused:
    unused.bind(('127.0.0.1', 0))
    port = unused.getsockname()[1]
  assert network.probe(f'http://127.0.0.1:{port}/') == 'no connection: Connection refused'


def test_a_name_server_that_hangs(monkeypatch):
  released = threading.Event()
  monkeypatch.setattr(network, '_PROBE_SECONDS', 0.3)

  def hang(*args, **kwargs):
    released.wait(20)
    raise socket.gaierror

  monkeypatch.setattr(socket, 'getaddrinfo', hang)
  begin = time.monotonic()
  assert network.probe('http://example.invalid/').startswith('no answer within')
  assert time.monotonic() - begin < 5
  released.set()


def test_a_proxy_of_the_environment_is_asked(serve, tmp_path, monkeypatch):
  proxy = serve(tmp_path)
  monkeypatch.setenv('http_proxy', proxy)
  assert network.probe('http://example.invalid/file') == 'it answered with status 404'


def test_bounded_requests_give_up(monkeypatch):
  monkeypatch.setattr(network, '_SOCKET_SECONDS', 0.2)
  original = requests.adapters.HTTPAdapter.send
  with socket.create_server(('127.0.0.1', 0)) as silent:  # it accepts and never answers
    url = f'http://127.0.0.1:{silent.getsockname()[1]}/'
    begin = time.monotonic()
    with pytest.raises(requests.RequestException), network.bounded():
      requests.get(url)
    assert time.monotonic() - begin < 10
  assert requests.adapters.HTTPAdapter.send is original
