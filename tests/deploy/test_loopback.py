"""Two processes with a throttled link, beside the simulation of the same."""

import socket
import threading
import time

import numpy as np
import pytest

from mecl_jax.deploy import installed
from mecl_jax.deploy.link import Link, ThrottledLink

for package in ('onnx', *installed.OF_SERVER):
  pytest.importorskip(package, reason='the extras export and serve are not installed')

from mecl_jax.deploy import loopback  # noqa: E402
from mecl_jax.deploy.offload import ANSWER_HEAD, REQUEST_HEAD, Plan, Watts, Way, World, simulate  # noqa: E402
from mecl_jax.deploy.runtime.network import Network  # noqa: E402
from mecl_jax.deploy.runtime.remote import Server  # noqa: E402
from mecl_jax.deploy.runtime.wire import body_length  # noqa: E402
from mecl_jax.deploy.sides import predict_sides  # noqa: E402
from mecl_jax.errors import RunError  # noqa: E402
from tests.deploy.bundles import known_logits, make_images, random_tables, write_bundle  # noqa: E402

TABLES = random_tables()
LOGITS = known_logits(TABLES, cascade=1)
ROWS = np.arange(100)
WAYS = [Way(0, 'float16'), Way(1, 'float16'), Way(1, 'bottleneck1')]
IMAGES, LABELS = make_images(ROWS), LOGITS[ROWS, 2].argmax(axis=-1)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
  return write_bundle(
    tmp_path_factory.mktemp('toy') / 'bundle', TABLES, cascade=1, has_bottlenecks=True
  )


@pytest.mark.parametrize('send_as', ['float16', 'int8', 'bottleneck1'])
def test_server_continues_with_what_is_sent(bundle, send_as):
  ways = [Way(0, 'float16'), Way(1, send_as), Way(2, send_as)]
  side = predict_sides(Network(bundle), 'test', IMAGES, LABELS, ways)
  expected = LOGITS[ROWS].argmax(axis=-1)
  np.testing.assert_array_equal(side.classes, expected)
  assert list(side.server_classes) == ways
  for way, classes in side.server_classes.items():
    np.testing.assert_array_equal(classes[:, way.start :], expected[:, way.start :])
  p = np.exp(LOGITS[ROWS] - LOGITS[ROWS].max(axis=-1, keepdims=True))
  np.testing.assert_allclose(side.confidence, (p / p.sum(axis=-1, keepdims=True)).max(-1), 1e-5)


def test_link_takes_its_bandwidth_and_round_trip():
  size, link = 20_000, Link(bandwidth=8, round_trip=30)

  def echo():
    taken, _ = listening.accept()
    with taken:
      left = size
      while left:
        left -= len(taken.recv(left))
      taken.sendall(b'0' * 5000)

  with socket.create_server(('127.0.0.1', 0)) as listening:
    thread = threading.Thread(target=echo)
    thread.start()
    with ThrottledLink(link, listening.getsockname()[1]) as throttled:
      with socket.create_connection(('127.0.0.1', throttled.port)) as sent:
        began, left = time.perf_counter(), 5000
        sent.sendall(b'0' * size)
        while left:
          left -= len(sent.recv(left))
        took = 1000 * (time.perf_counter() - began)
      thread.join()
    assert (throttled.up, throttled.down) == (size, 5000)
  assert link.sending_ms(1000) == pytest.approx(1)
  assert 20 + 5 + 30 <= took < 20 + 5 + 30 + 200  # ms; more where the machine is busy


def test_slower_device_takes_its_multiple(bundle):
  fast, slow = Network(bundle, 1), loopback.SlowNetwork(bundle, 1, 50)
  expected = slow._least_ms
  times = slow.measure(0.05)
  # A busy machine may take longer, but not in all rounds.
  assert (times >= expected).all() and (times.min(axis=0) < 3 * np.array(expected)).all()
  ratios = np.array(expected) / np.median(fast.measure(0.2), axis=0)
  assert ((ratios > 10) & (ratios < 250)).all()  # of the same machine at another moment
  np.testing.assert_array_equal(fast(IMAGES).logits, slow(IMAGES).logits)


def test_slower_device_takes_its_multiple_to_encode(bundle):
  network = loopback.SlowNetwork(bundle, 1, 50)
  assert list(network._least_encoding_ms) == loopback.bottleneck_ways(network.bundle)
  server = Server('http://127.0.0.1:1', network.bundle, 'early', send_as='bottleneck1')
  x, _ = next(network.walk([IMAGES[:1]]))
  began = time.perf_counter()
  assert [one.dtype for one in network.encode(x, server)] == [np.uint8, np.uint8]
  least_ms = network._least_encoding_ms[Way(1, 'bottleneck1')]
  assert 1000 * (time.perf_counter() - began) >= least_ms > 0


def test_two_processes_do_what_is_simulated(bundle, monkeypatch):
  monkeypatch.setattr(loopback, 'WARM_UP', 2)
  network, server = loopback.SlowNetwork(bundle, 1, 5), Network(bundle, 1)
  server_ms = server.measure(0.05)
  with loopback.serving(bundle, 1) as port:
    world = World(
      device_ms=network.measure(0.05),
      server_ms=server_ms,
      request_ms=loopback.request_ms(network, port, server_ms, rounds=10),
      link=Link(bandwidth=1, round_trip=10),
      sizes={way: body_length(network.bundle, *way) for way in WAYS},
      coding_ms=loopback.coding_ms(server, rounds=5),
      answer_size=16,
      watts=Watts(1, 1, 1),
      deadline_ms=1000,
    )
    side = predict_sides(server, 'test', IMAGES[:20], LABELS[:20], WAYS)
    for plan in (
      Plan('device', threshold=0.8),
      Plan('server', WAYS[0], 2),
      Plan('threshold', WAYS[1], 2, 0.8),
      Plan('threshold', WAYS[2], 2, 0.8),
      Plan('deadline', WAYS[2], 2, 0.8, in_time=True),
    ):
      real = loopback.answer_all(network, port, world, plan, IMAGES[:20])
      simulated = simulate(plan, side, world)
      row = loopback.compare(real, simulated, side.labels, world)
      assert row['same_class'] == row['same_side'] == 1
      assert [each.exit for each in real.answers] == simulated.exits.tolist()
      assert row['accuracy_real'] == row['accuracy_simulated']
      # HTTP needs a few bytes more or less, by the digits of ports and lengths.
      assert row['bytes_real'] == pytest.approx(row['bytes_simulated'], abs=8)
      # A process gets no time now and then, but nothing is faster than the link.
      asked = np.array([each.elapsed_ms for each in real.answers])[simulated.answered]
      if plan.way:
        assert simulated.answered.any() and asked.min() > world.link_ms(plan.way)
        assert np.median(asked) < 3 * np.median(simulated.ms[simulated.answered])


def test_server_that_dies_is_no_measurement(bundle):
  network = Network(bundle, 1)
  world = World(
    device_ms=np.ones((1, 3)),
    server_ms=np.ones((1, 3)),
    request_ms=np.ones(1),
    link=Link(bandwidth=100, round_trip=0),
    sizes=dict.fromkeys(WAYS, 1),
    coding_ms={},
    answer_size=16,
    watts=Watts(1, 1, 1),
    deadline_ms=1000,
  )
  for plan in (Plan('server', WAYS[0], 2), Plan('deadline', WAYS[1], 2, 2.0, in_time=True)):
    with pytest.raises(RunError, match='the server does not answer any more'):
      loopback.answer_all(network, 1, world, plan, IMAGES[:2])


def test_bytes_of_http_are_those_of_the_simulation():
  assert REQUEST_HEAD + ANSWER_HEAD == 225


def test_server_that_does_not_start_is_one_line(tmp_path):
  message = r'did not start: error: .*bundle\.json does not exist'
  with pytest.raises(RunError, match=message), loopback.serving(tmp_path, 1):
    pass
