"""The server that runs the segments behind an exit, as the device sees it."""

from __future__ import annotations

import argparse
import http.client
import io
import math
import socket
import time
from typing import Any
import urllib.parse

import numpy as np

from mecl_jax.deploy.runtime.errors import BundleError, first_line, need
from mecl_jax.deploy.runtime.files import identity_of
from mecl_jax.deploy.runtime.wire import codings_of, pack

IMAGE = 'image'  # as name of an exit: before the first segment
ANSWERED, NO_ANSWER = 'answered', 'no answer'
TOO_LATE = 'not asked, its answer is expected too late'
SLOWER = 1.2  # factor for the expected time of a request
RECOVERY = 0.2  # share by which the expected time falls back with each image that is not sent
MOST_RESTS = 64  # images, at most, that are not sent after requests without an answer
TRIALS = 5  # requests that `expect` takes the median of


def is_late(outcome: str) -> bool:
  """Returns whether time alone is why a request has no answer."""
  return outcome == TOO_LATE or NO_ANSWER in outcome


class Server:
  """The segments behind an exit, on a server with the same bundle.

  A request that fails in any way, or takes too long, has no answer: the device goes on by itself.
  After it, without a deadline, the next image is not sent; after a second one in a row the next
  three, and so on up to 63.
  One connection is kept; it is opened again if the server has closed it.

  Args:
    url: 'http://HOST:PORT'.
    bundle: the fields of bundle.json.
    after: name of the last exit on the device, or 'image': the image itself is sent.
    until: name of the exit that answers on the server; None: the last one.
    send_as: 'float16' or 'int8', of feature maps; or a bottleneck of the bundle.
    timeout_ms: of a request with its answer.

  Attributes:
    start: number of the first segment on the server, from 0.
    send_as: as given.
    stop: number of the exit that answers there, from 0.
    outcome: of the last `ask`: 'answered', or why there is no answer.
    expected_ms: expected time of a request; None before `expect`.

  Raises:
    BundleError: an argument is not valid.
  """

  def __init__(
    self,
    url: str,
    bundle: dict[str, Any],
    after: str,
    until: str | None = None,
    send_as: str = 'float16',
    timeout_ms: float = 1000,
  ):
    names = [each['name'] for each in bundle['exits']]
    before_last = [IMAGE, *names[:-1]]
    need(after in before_last, f'{after!r} is not one of {", ".join(before_last)}')
    self.start = before_last.index(after)
    until = names[-1] if until is None else until
    after_start = names[self.start :]
    need(until in after_start, f'{until!r} is not one of {", ".join(after_start)}')
    self.stop = names.index(until)
    codings = codings_of(bundle, self.start)
    need(send_as in codings, f'{send_as!r} is not one of {", ".join(codings)}, after {after}')
    need(0 < timeout_ms < math.inf, f'the timeout is {timeout_ms} ms; it must be above 0')
    self._address = _address(url)
    self._bundle, self.send_as, self._timeout_ms = bundle, send_as, timeout_ms
    query = {'bundle': identity_of(bundle), 'start': self.start, 'stop': self.stop, 'as': send_as}
    self._path = f'/answer?{urllib.parse.urlencode(query)}'
    self._connection: http.client.HTTPConnection | None = None
    self.outcome = ''
    self._measured_ms, self._failure = 0.0, ''  # the reason why the last request had no answer
    self._failures, self._rests = 0, 0  # in a row; images that are not sent before the next request
    self.expected_ms: float | None = None

  def ask(
    self, x: list[np.ndarray], before: np.ndarray | None, left_ms: float = math.inf
  ) -> np.ndarray | None:
    """Asks for the logits of the exit `stop`.

    Args:
      x: features of one image behind the exit or their codes, or the image, [1, ..] each.
      before: float32 [1, classes], the logits of that exit; None for an image.
      left_ms: until the deadline. If the answer is expected later, nothing is sent.

    Returns:
      float32 [classes], or None; `outcome` then has the reason.
    """
    if self.expected_ms is not None and self.expected_ms > left_ms:
      self.outcome = TOO_LATE + (f' (the last request: {self._failure})' if self._failure else '')
      self.expected_ms = self._recovered(self.expected_ms)
      return None
    if self.expected_ms is None and self._rests:
      self._rests -= 1
      self.outcome = f'not asked (the last request: {self._failure})'
      return None
    timeout_ms, began = min(self._timeout_ms, left_ms), time.perf_counter()
    try:
      body = pack(self._bundle, self.start, self.send_as, x, before)
      logits = self._request(body, began + timeout_ms / 1000)
      self.outcome = ANSWERED
    except (OSError, http.client.HTTPException, BundleError) as error:
      self.close()
      timed_out = isinstance(error, (TimeoutError, socket.timeout))
      self.outcome = f'{NO_ANSWER} in {timeout_ms:.3g} ms' if timed_out else first_line(error)
      logits = None
    self._failure = self.outcome if logits is None else ''
    self._failures = 0 if logits is not None else self._failures + 1
    self._rests = min(2**self._failures, MOST_RESTS) - 1
    if self.expected_ms is not None:
      passed_ms = 1000 * (time.perf_counter() - began)
      if logits is not None and not self._measured_ms:  # the first answer
        self._measured_ms = passed_ms
      # It rises at once and falls gradually, since late is worse.
      self.expected_ms = max(SLOWER * passed_ms, self._recovered(self.expected_ms))
    return logits

  def expect(self, x: list[np.ndarray], before: np.ndarray | None) -> None:
    """Measures the time of a request, for deadlines.

    Without an answer the timeout is expected, from which the expected time then falls until the
    server is asked again.
    """
    times: list[float] = []
    for _ in range(TRIALS):
      began = time.perf_counter()
      if self.ask(x, before) is None:
        self._measured_ms, self.expected_ms = 0.0, SLOWER * self._timeout_ms
        return
      times.append(1000 * (time.perf_counter() - began))
    self._measured_ms = float(np.median(times))
    self.expected_ms = SLOWER * self._measured_ms

  def _recovered(self, expected_ms: float) -> float:
    """Returns an expected time that has come closer to the measured one."""
    return expected_ms - RECOVERY * (expected_ms - SLOWER * self._measured_ms)

  def close(self) -> None:
    """Closes the connection; the next request opens another."""
    if self._connection is not None:
      self._connection.close()
    self._connection = None

  def _request(self, body: bytes, end: float) -> np.ndarray:
    """Returns the logits of an answer that comes until a time of `time.perf_counter`."""
    was_open = self._connection is not None
    try:
      return self._send(body, end)
    except (ConnectionError, http.client.BadStatusLine):
      self.close()
      if not was_open:
        raise
      return self._send(body, end)  # the server had closed the connection that was kept

  def _send(self, body: bytes, end: float) -> np.ndarray:
    if self._connection is None:
      self._connection = http.client.HTTPConnection(*self._address)
      self._connection.timeout = _left(end)
      self._connection.connect()
    connection = self._connection
    connection.sock.settimeout(_left(end))
    timed: Any = _Timed(connection.sock, end)
    connection.response_class = lambda _, **more: http.client.HTTPResponse(timed, **more)  # type: ignore
    connection.request('POST', self._path, body)
    response = connection.getresponse()
    length = 4 * len(self._bundle['class_names'])
    found = response.read(max(length, 200) + 1)
    if response.status != 200:
      text = ascii(found.decode(errors='replace'))[1:-1]
      raise BundleError(f'the server refused it: {response.status} {text:.150}')
    need(len(found) == length, f'its answer has not the {length} bytes of the logits')
    logits = np.frombuffer(found, '<f4').astype(np.float32)
    need(np.isfinite(logits).all(), 'its answer is not finite')
    return logits


class _Timed(io.RawIOBase):
  """A socket to read from until a time of `time.perf_counter`, however slowly bytes come."""

  def __init__(self, sock: socket.socket, end: float):
    super().__init__()
    self._socket, self._end = sock, end
    # Keeps the socket open until all is read, though http.client may close it after the headers.
    self._raw: Any = sock.makefile('rb', buffering=0)

  def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
    return io.BufferedReader(self)

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: Any) -> int:
    self._socket.settimeout(_left(self._end))
    return self._raw.readinto(buffer)

  def close(self) -> None:
    self._raw.close()
    super().close()


def _left(end: float) -> float:
  """Returns the seconds until a time of `time.perf_counter`; raises TimeoutError if it is over."""
  left = end - time.perf_counter()
  if left <= 0:
    raise TimeoutError
  return left


def _address(url: str) -> tuple[str, int]:
  """Returns host and port of 'http://HOST:PORT'."""
  try:
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or '', 80 if parts.port is None else parts.port
    host.encode('idna')
  except ValueError:  # also of letters that no host name has
    host, port = '', 0
  fits = host and port and parts.scheme == 'http' and parts.path in ('', '/')
  more = parts.query or parts.fragment or parts.username is not None
  need(fits and not more, f'the server is {url!r:.100}; write http://HOST:PORT')
  return host, port


def add_server_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of the program for a server."""
  parser.add_argument('--server', help='http://HOST:PORT of the server for unsure images')
  parser.add_argument('--send-after', help="exit after which they are sent, or 'image'")
  parser.add_argument('--until', help='exit that answers on the server; default: the last')
  parser.add_argument(
    '--send-as', default='float16', help='float16 (default), int8, or a bottleneck of the bundle'
  )
  parser.add_argument('--timeout-ms', type=float, default=1000, help='default: 1000')
  parser.add_argument(
    '--sure', type=float, help='probability to leave at, not scaled by the temperature; no policy'
  )


def server_of(options: argparse.Namespace, bundle: dict[str, Any]) -> Server | None:
  """Returns the server that the options name; None without one."""
  if options.server is None:
    need(not (options.send_after or options.until), '--send-after and --until need --server')
    return None
  need(options.send_after, f'--server needs --send-after, an exit or {IMAGE!r}')
  places = options.send_after, options.until, options.send_as
  return Server(options.server, bundle, *places, options.timeout_ms)
