"""The server of a bundle, and a device that uses it."""

import asyncio
import http.client
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mecl_jax.deploy import installed
from mecl_jax.deploy import server as server_of_bundle
from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.files import identity_of
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.program import main
from mecl_jax.deploy.runtime.remote import ANSWERED, Server
from mecl_jax.deploy.runtime.rules import sure_policy
from mecl_jax.errors import UserError
from tests.deploy.bundles import known_logits, make_images, random_tables, write_bundle

for package in ('onnx', *installed.OF_SERVER):
  pytest.importorskip(package, reason='the extras export and serve are not installed')

from mecl_jax.deploy.loopback import serving  # noqa: E402

TABLES = random_tables()
LOGITS = known_logits(TABLES, cascade=1)
IMAGES = make_images(range(16))
NEVER, ALWAYS = sure_policy(np.inf, 3), sure_policy(0.0, 3)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
  return write_bundle(
    tmp_path_factory.mktemp('toy') / 'bundle', TABLES, cascade=1, has_bottlenecks=True
  )


@pytest.fixture(scope='module')
def network(bundle):
  return Network(bundle, 1)


@pytest.fixture(scope='module')
def port(bundle):
  with serving(bundle, 1) as port:
    yield port


OPEN = []  # servers of a test, whose connections are closed after it


@pytest.fixture(autouse=True)
def closed():
  yield
  while OPEN:
    OPEN.pop().close()


def server(network, port, after='early', **settings):
  OPEN.append(Server(f'http://127.0.0.1:{port}', network.bundle, after, **settings))
  return OPEN[-1]


@pytest.mark.parametrize('send_as', ['float16', 'int8', 'bottleneck1'])
@pytest.mark.parametrize(
  ('after', 'until'),
  [
    ('image', 'early'),
    ('image', 'late'),
    ('early', 'middle'),
    ('early', 'late'),
    ('middle', 'late'),
  ],
)
def test_server_answers_as_the_device(network, port, after, until, send_as):
  if after == 'image' and send_as == 'bottleneck1':
    with pytest.raises(BundleError, match=r'bottleneck1. is not one of float16, int8, after image'):
      server(network, port, after, until=until, send_as=send_as)
    return
  # Rows up to 15 are exact in float16, and nearly exact in int8: the table has the logits of a row.
  asked = server(network, port, after, until=until, send_as=send_as)
  number = ['early', 'middle', 'late'].index(until)
  for row in range(0, 16, 5):
    answer = network.answer(IMAGES[row], policy=NEVER, server=asked)
    assert (answer.exit, answer.server) == (number, ANSWERED)
    np.testing.assert_array_equal(answer.logits, LOGITS[row, number])


def test_sure_images_are_not_sent(network, port):
  answer = network.answer(IMAGES[0], policy=ALWAYS, server=server(network, port))
  assert (answer.exit, answer.server) == (0, '')
  np.testing.assert_array_equal(answer.logits, LOGITS[0, 0])


def test_deadline_decides_whether_an_image_is_sent(network, port):
  asked = server(network, port)
  answer = network.answer(IMAGES[0], deadline_ms=60_000, policy=NEVER, server=asked)
  assert answer.server == ANSWERED and answer.in_time
  asked.expected_ms = 90_000.0
  answer = network.answer(IMAGES[0], deadline_ms=60_000, policy=NEVER, server=asked)
  assert answer.server.startswith('not asked') and answer.exit == 2
  assert asked.expected_ms < 90_000  # so that it is asked again some time


def test_server_that_did_not_answer_is_asked_again(network, port):
  asked = server(network, 1)  # nothing listens there
  network.prepare(100, asked)
  asked._address = ('127.0.0.1', port)
  found = []
  while ANSWERED not in found and len(found) < 30:
    found.append(network.answer(IMAGES[0], deadline_ms=100, policy=NEVER, server=asked).server)
  assert 1 < len(found) < 30
  assert found[0].startswith('not asked') and 'refused' in found[0]


@pytest.mark.parametrize(
  'url', ['http://.x:1', 'http://a..b:1', f'http://{"a" * 80}:1', 'http://h:0', 'http://u@h:1']
)
def test_address_that_cannot_be_one_is_one_line(network, url):
  with pytest.raises(BundleError, match='write http://HOST:PORT'):
    Server(url, network.bundle, 'early')


def test_connection_without_a_request_is_closed(network, monkeypatch):
  monkeypatch.setattr(server_of_bundle, 'BODY_SECONDS', 0.2)
  running = server_of_bundle.make_server(network)
  with server_of_bundle.listen('127.0.0.1', 0) as listening:
    thread = threading.Thread(target=running.run, kwargs={'sockets': [listening]})
    thread.start()
    for begun in (b'', b'POST /answer HTTP/1.1\r\nHost: x'):
      with socket.create_connection(listening.getsockname(), timeout=10) as silent:
        silent.sendall(begun)
        assert silent.recv(100) == b''  # closed by the server
    running.should_exit = True
    thread.join()


def test_server_of_a_killed_program_ends(bundle):
  code = f"""
import os, pathlib
from mecl_jax.deploy.loopback import serving
with serving(pathlib.Path({str(bundle)!r}), 1) as port:
  print(port, flush=True)
  os.kill(os.getpid(), 9)
"""
  done = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
  port, end = int(done.stdout), time.monotonic() + 20
  while time.monotonic() < end:
    try:
      socket.create_connection(('127.0.0.1', port), timeout=1).close()
    except OSError:
      return
    time.sleep(0.05)
  pytest.fail('it still listens')


def request(port, path, body=b'', method='POST', **headers):
  """Returns status and text of an answer."""
  connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
  connection.request(method, path, body, headers)
  answer = connection.getresponse()
  found = answer.status, answer.read().decode(errors='replace')
  connection.close()
  return found


def path(network, **changes):
  fields = {'bundle': identity_of(network.bundle), 'start': 1, 'stop': 2, 'as': 'float16'}
  return '/answer?' + '&'.join(f'{name}={value}' for name, value in (fields | changes).items())


def test_bad_requests_are_refused(network, port):
  good = b'\0' * (2 + 4 + 16)
  status, text = request(port, path(network), good)
  assert status == 200 and len(text) >= 4
  for status, text, arguments in (
    (400, 'must have 22', (path(network), good[:-1])),
    (400, 'must have 22', (path(network), b'')),
    (413, 'the largest body has 27', (path(network), b'\0' * 28)),
    (400, 'start and stop', (path(network, start=2, stop=1), good)),
    (400, 'start and stop', (path(network, start=-1), good)),
    (400, 'start and stop', (path(network, stop='x'), good)),
    (400, 'start and stop', (path(network, stop=3), good)),
    (400, 'as must be one of', (path(network, **{'as': 'float64'}), good)),
    (409, 'this server has the bundle', (path(network, bundle='0' * 16), good)),
    (409, 'this server has the bundle', ('/answer', good)),
    (404, '', ('/', good)),
    (404, '', ('/answers', good)),
    (405, '', (path(network), b'', 'GET')),
    (400, 'must be above 0', (path(network, **{'as': 'int8'}), b'\0' * 27)),
    (400, 'not finite', (path(network), np.full(11, np.nan, '<f2').tobytes())),
    (400, 'not finite', (path(network), good[:-16] + np.full(4, np.nan, '<f4').tobytes())),
    (
      400,
      'cannot be run',
      (path(network), np.array([3e4, -3e4, -3e4], '<f2').tobytes() + good[:16]),
    ),
  ):
    found = request(port, *arguments)
    assert found[0] == status and text in found[1], (arguments, found)
  assert request(port, '/health', method='GET') == (200, 'ok')


def test_oversized_and_unmeasured_bodies_are_refused_unread(network, port):
  for lines, status in (
    ('Content-Length: 999999999999', b' 413 '),
    ('Content-Length: ' + '9' * 40, b' 4'),
    ('Transfer-Encoding: chunked', b' 411 '),
    ('X-None: 0', b' 411 '),
  ):
    with socket.create_connection(('127.0.0.1', port), timeout=10) as sent:
      sent.sendall(f'POST {path(network)} HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n'.encode())
      assert status in sent.recv(200), lines  # though no body was sent


def test_dead_server_leaves_the_answer_to_the_device(network):
  with socket.create_server(('127.0.0.1', 0)) as listening:
    port = listening.getsockname()[1]
  answer = network.answer(IMAGES[3], policy=NEVER, server=server(network, port))
  assert answer.exit == 2 and 'refused' in answer.server
  np.testing.assert_array_equal(answer.logits, LOGITS[3, 2])
  answer = network.answer(IMAGES[3], policy=NEVER, server=server(network, port, 'image'))
  assert answer.exit == 2 and 'refused' in answer.server


def test_dead_server_is_asked_less_and_less_without_a_deadline(network, port):
  asked = server(network, 1)  # nothing listens there

  def outcomes(count):
    answers = (network.answer(IMAGES[0], policy=NEVER, server=asked) for _ in range(count))
    return ''.join(answer.server[0] for answer in answers)

  refused, not_asked = '[', 'n'
  expected = ''.join(refused + not_asked * rests for rests in (1, 3, 7))
  assert outcomes(14) == expected
  asked._address = ('127.0.0.1', port)
  assert outcomes(3) == 'aaa'  # answered again


@pytest.mark.parametrize('drips', [False, True])
def test_slow_server_leaves_the_answer_to_the_device(network, drips):
  ended = threading.Event()

  def accept():
    taken, _ = listening.accept()
    with taken:
      while not ended.wait(0.02):
        if drips:
          taken.sendall(b'H')  # bytes that come in time do not extend it

  with socket.create_server(('127.0.0.1', 0)) as listening:
    thread = threading.Thread(target=accept)
    thread.start()
    asked = server(network, listening.getsockname()[1], timeout_ms=100)
    began = time.perf_counter()
    answer = network.answer(IMAGES[3], policy=NEVER, server=asked)
    took = time.perf_counter() - began
    ended.set()
    thread.join()
  assert answer.exit == 2 and answer.server == 'no answer in 100 ms'
  assert 0.1 <= took < 2
  np.testing.assert_array_equal(answer.logits, LOGITS[3, 2])


def test_refusal_is_read_though_its_text_comes_later(network):
  def refuse():
    taken, _ = listening.accept()
    with taken:
      taken.sendall(b'HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 5\r\n\r\n')
      time.sleep(0.1)
      taken.sendall(b'other')

  with socket.create_server(('127.0.0.1', 0)) as listening:
    thread = threading.Thread(target=refuse)
    thread.start()
    asked = server(network, listening.getsockname()[1])
    answer = network.answer(IMAGES[3], policy=NEVER, server=asked)
    thread.join()
  assert answer.exit == 2 and answer.server == 'the server refused it: 409 other'


def test_late_answer_at_a_deadline_leaves_that_of_the_exit(network):
  with socket.create_server(('127.0.0.1', 0)) as listening:
    asked = server(network, listening.getsockname()[1])
    asked.expected_ms = 1.0
    network.prepare(300, asked)  # takes longer than the deadline
    answer = network.answer(IMAGES[3], deadline_ms=300, policy=NEVER, server=asked)
  assert (answer.exit, answer.in_time) == (0, False) and 'no answer in' in answer.server
  np.testing.assert_array_equal(answer.logits, LOGITS[3, 0])
  assert asked.expected_ms > 250


def test_closed_connection_is_opened_again(network, port):
  asked = server(network, port)
  for _ in range(2):
    assert network.answer(IMAGES[1], policy=NEVER, server=asked).server == ANSWERED
    asked._connection.sock.shutdown(socket.SHUT_RDWR)


def test_another_bundle_is_refused(bundle, port, tmp_path):
  other = Network(write_bundle(tmp_path / 'other', random_tables(seed=1), cascade=1))
  answer = other.answer(IMAGES[0], policy=NEVER, server=server(other, port))
  assert answer.exit == 2 and answer.server.startswith('the server refused it: 409')


def test_program_says_who_answered(bundle, port, tmp_path, capsys):
  from PIL import Image

  Image.fromarray(IMAGES[5]).save(tmp_path / 'cat.png')
  command = [f'--bundle={bundle}', str(tmp_path / 'cat.png'), '--send-after=early']
  assert main([*command, f'--server=http://127.0.0.1:{port}', '--sure=1']) == 0
  assert capsys.readouterr().out.endswith(' ms, by the server\n')
  assert main([*command, '--server=http://127.0.0.1:1', '--sure=1']) == 0
  assert ', exit late, ' in (line := capsys.readouterr().out) and ', not by the server: ' in line
  for arguments, message in (
    (['--send-after=late'], '--send-after and --until need --server'),
    (['--server=http://x:1'], '--server needs --send-after'),
    (['--server=http://x:1', '--send-after=late'], "'late' is not one of image, early, middle"),
    (['--server=x:1', '--send-after=early'], "the server is 'x:1'; write http://HOST:PORT"),
    (['--server=http://x:1', '--send-after=early', '--send-as=x'], "'x' is not one of float16"),
    (['--server=http://x:1', '--send-after=early', '--timeout-ms=0'], 'must be above 0'),
    (['--sure=2'], '--sure is 2.0; it must be from 0 to 1'),
    (['--sure=1', '--policy=last'], 'set only one of --sure and --policy'),
    (['--sure=1', '--costs=x', '--budget=1'], '--costs goes with a policy on this device'),
  ):
    assert main([*command[:2], *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_server_imports_no_jax():
  code = (
    'import sys, mecl_jax.deploy.server as s, mecl_jax.deploy.link; s.make_app(None);'
    'print(sorted({"jax", "flax", "tensorflow", "onnx"} & set(sys.modules)))'
  )
  root = pathlib.Path(__file__).parents[2]
  done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
  assert (done.stdout, done.stderr) == ('[]\n', '')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_server(bundle, number):
  command = [sys.executable, '-m', 'mecl_jax.deploy.server', str(bundle), '--port=0']
  root = pathlib.Path(__file__).parents[2]
  with subprocess.Popen(
    command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  ) as process:
    assert ' at http://127.0.0.1:' in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
  assert (process.returncode, errors) == (0, '')


def test_input_that_cannot_be_served_is_one_line(tmp_path, capsys, monkeypatch, bundle, port):
  from mecl_jax.deploy.server import main as serve

  for arguments, message in (
    ([str(tmp_path)], 'bundle.json does not exist: copy the whole bundle'),
    ([str(bundle), f'--port={port}'], f'127.0.0.1 port {port} cannot be used: '),
    ([str(bundle), '--threads=0'], 'threads is 0; it must be 1 or more'),
  ):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert serve(arguments) == 2
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
      signal.signal(number, handler)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith('error: ') and message in errors[0]
  monkeypatch.setattr(installed, 'OF_SERVER', ('starlette', 'no_such_package'))
  with pytest.raises(UserError, match=r"needs no_such_package; pip install -e '\.\[serve\]'"):
    installed.check_can_serve('the server')


def test_exit_on_the_device_cannot_answer_on_the_server(network):
  with pytest.raises(BundleError, match="'early' is not one of middle, late"):
    server(network, 1, until='early')


@pytest.mark.parametrize(
  ('parts', 'status'), [([b'0' * 22, b'0'], 413), ([b'0' * 21, None], 408), ([b'\0' * 22], 200)]
)
def test_body_is_limited_while_it_comes(network, monkeypatch, parts, status):
  monkeypatch.setattr(server_of_bundle, 'BODY_SECONDS', 0.05)
  waiting, answered = list(parts), []

  async def receive():
    part = waiting.pop(0)
    if part is None:
      await asyncio.sleep(60)
    return {'type': 'http.request', 'body': part, 'more_body': bool(waiting)}

  async def send(message):
    answered.append(message)

  scope = {
    **{
      'type': 'http',
      'method': 'POST',
      'path': '/answer',
      'headers': [(b'content-length', b'22')],
    },
    'query_string': path(network).partition('?')[2].encode(),
  }
  asyncio.run(server_of_bundle.make_app(network)(scope, receive, send))
  assert answered[0]['status'] == status
