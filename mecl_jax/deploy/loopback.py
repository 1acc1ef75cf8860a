"""A device and a server as two processes on this machine, with a throttled link between them."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import numpy as np

from mecl_jax.deploy.link import ThrottledLink, sleep_until
from mecl_jax.deploy.offload import Outcome, Plan, Way, World
from mecl_jax.deploy.runtime.network import Answer, Network
from mecl_jax.deploy.runtime.remote import ANSWERED, IMAGE, Server, is_late
from mecl_jax.deploy.runtime.rules import sure_policy
from mecl_jax.deploy.runtime.wire import codings_of, is_bottleneck
from mecl_jax.errors import RunError

START_SECONDS = 60  # that the server may take to start
WARM_UP = 10  # images that are answered before the times count
PAUSE_SECONDS = 0.01  # between requests, as caches are cold after a wait
TIMEOUT_MS = 10_000.0  # of a request without a deadline
PACKAGE = pathlib.Path(__file__).parent.parent


class SlowNetwork(Network):
  """A network of a slower device: a segment takes `slowdown` times its median time, 1 or more.

  The median is that of one run after the other; a single run, as after a wait, may take several
  times as long, which must not be multiplied.
  """

  def __init__(self, folder: pathlib.Path, threads: int | None, slowdown: float):
    self._least_ms: list[float] = []
    self._least_encoding_ms: dict[Way, float] = {}
    super().__init__(folder, threads)
    if slowdown > 1:
      self.measure()
      self._least_encoding_ms = {
        way: slowdown * encoding for way, (encoding, _) in coding_ms(self).items()
      }
      self._least_ms, self.segment_ms = [slowdown * ms for ms in self.segment_ms], []

  def _run(self, number: int, x: list[np.ndarray], by_exit: list[np.ndarray]) -> list[np.ndarray]:
    began = time.perf_counter()
    following = super()._run(number, x, by_exit)
    if self._least_ms:
      sleep_until(began + self._least_ms[number] / 1000)
    return following

  def encode(self, x: list[np.ndarray], server: Server) -> list[np.ndarray]:
    began = time.perf_counter()
    codes = super().encode(x, server)
    least_ms = self._least_encoding_ms.get(Way(server.start, server.send_as), 0)
    sleep_until(began + least_ms / 1000)
    return codes


def bottleneck_ways(bundle: dict[str, Any]) -> list[Way]:
  """Returns the ways to continue through a bottleneck; `bundle` are the fields of bundle.json."""
  return [
    Way(start, send_as)
    for start in range(1, len(bundle['exits']))
    for send_as in codings_of(bundle, start)
    if is_bottleneck(send_as)
  ]


def coding_ms(network: Network, rounds: int = 50) -> dict[Way, tuple[float, float]]:
  """Measures the median times to encode and to decode by each bottleneck of a bundle."""
  features = [x for x, _ in network.walk([network.noise(1)])]
  found = {}
  for way in bottleneck_ways(network.bundle):
    times = []
    for _ in range(rounds):
      marks = [time.perf_counter()]
      codes = network.coders.encode(features[way.start - 1], *way)
      marks.append(time.perf_counter())
      network.coders.decode(codes, *way)
      times.append(np.diff([*marks, time.perf_counter()]))
    encoding, decoding = 1000 * np.median(times, axis=0)
    found[way] = (float(encoding), float(decoding))
  return found


@contextlib.contextmanager
def serving(bundle: pathlib.Path, threads: int) -> Iterator[int]:
  """Starts the server of a bundle in a process of its own, and yields its port.

  Raises:
    RunError: it does not start.
  """
  paths = [str(PACKAGE.parent), *filter(None, [os.environ.get('PYTHONPATH')])]
  # It ends with this process, however that ends, as its standard input then does.
  settings = ['--port=0', '--ends-with-input']
  command = [sys.executable, '-m', 'mecl_jax.deploy.server', str(bundle), *settings]
  process = subprocess.Popen(
    [*command, f'--threads={threads}'],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
    start_new_session=True,  # Ctrl-C is for this process, which ends the server
  )
  assert process.stdin and process.stdout and process.stderr
  try:
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline() if ready else ''
    if 'http://' not in line:
      process.kill()
      reason = (process.stderr.read().strip().splitlines() or ['it printed no address'])[-1]
      raise RunError(f'the server of {bundle} did not start: {reason}')
    yield int(line.split(';')[0].rpartition(':')[2])
  finally:
    process.send_signal(signal.SIGTERM)
    try:
      process.wait(timeout=5)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
      pipe.close()


def request_ms(network: Network, port: int, server_ms: np.ndarray, rounds: int = 100) -> np.ndarray:
  """Measures what a request takes beside link and segments, with a pause before each.

  Args:
    network: of the same bundle.
    port: of the server, on this machine.
    server_ms: measured times of its segments, [rounds, exits].
    rounds: number of requests.

  Returns:
    float64 [rounds], milliseconds.

  Raises:
    RunError: the server does not answer.
  """
  server = _server(network, port, Plan('', Way(0, 'float16'), 0))
  image, times = network.noise(1), []
  for _ in range(rounds):
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    if server.ask([image], None) is None:
      raise RunError(f'the server does not answer: {server.outcome}')
    times.append(1000 * (time.perf_counter() - began))
  server.close()
  return (np.array(times) - np.median(server_ms[:, 0])).clip(min=0)


def _server(network: Network, port: int, plan: Plan) -> Server:
  names = [each['name'] for each in network.bundle['exits']]
  assert plan.way is not None
  after, send_as = [IMAGE, *names][plan.way.start], plan.way.send_as
  url = f'http://127.0.0.1:{port}'
  return Server(url, network.bundle, after, names[plan.stop], send_as, TIMEOUT_MS)


class Real(NamedTuple):
  """What a plan did to images, as two processes measured it, and the bytes on the link."""

  answers: list[Answer]
  link_bytes: int


def answer_all(
  network: Network,
  port: int,
  world: World,
  plan: Plan,
  images: np.ndarray,
) -> Real:
  """Answers images one by one by a plan, through a throttled link.

  Args:
    network: of the device.
    port: of the server, on this machine.
    world: its link is imitated; its deadline is that of plans that keep one.
    plan: for each image.
    images: uint8 [N, height, width, channels].

  Raises:
    RunError: the server fails, so that times would be those of the device alone.
  """
  policy = sure_policy(plan.threshold, len(network.bundle['exits']))
  deadline = world.deadline_ms if plan.in_time else None
  with ThrottledLink(world.link, port) as throttled:
    server = None
    if plan.way:
      server = _server(network, throttled.port, plan)
    for image in images[np.arange(WARM_UP) % len(images)]:
      network.answer(image, deadline, policy, server=server)
    before = throttled.up + throttled.down
    answers = [network.answer(image, deadline, policy, server=server) for image in images]
    if server is not None:
      server.close()
    for each in answers:
      if each.server not in ('', ANSWERED) and not (plan.in_time and is_late(each.server)):
        raise RunError(f'the server does not answer any more: {each.server}')
    return Real(answers, throttled.up + throttled.down - before)


def compare(
  real: Real, outcome: Outcome, labels: np.ndarray, world: World
) -> dict[str, float | None]:
  """Returns the same numbers of both for the same images, and how far apart they are.

  Args:
    real: measured.
    outcome: simulated.
    labels: int [N].
    world: of the simulation.
  """
  ms = np.array([each.elapsed_ms for each in real.answers])
  classes = np.array([each.class_number for each in real.answers])
  is_answered = np.array([each.server == ANSWERED for each in real.answers])
  row: dict[str, float | None] = {}
  for name, simulated, measured in (
    ('accuracy', (outcome.classes == labels).mean(), (classes == labels).mean()),
    ('mean_ms', outcome.ms.mean(), ms.mean()),
    ('p95_ms', np.percentile(outcome.ms, 95), np.percentile(ms, 95)),
    ('bytes', outcome.sent.mean(), real.link_bytes / len(ms)),
  ):
    row |= {f'{name}_simulated': float(simulated), f'{name}_real': float(measured)}
  simulated, measured = outcome.ms.mean(), ms.mean()
  row['real_difference'] = float(measured / simulated - 1) if simulated > 0 else None
  row['same_class'] = float((classes == outcome.classes).mean())
  row['same_side'] = float((is_answered == outcome.answered).mean())
  row['in_time_real'] = float((ms <= world.deadline_ms).mean())
  return row
