"""A link of limited speed between two programs on one machine, to try a split without a radio."""

import contextlib
import queue
import socket
import threading
import time
from typing import NamedTuple, Self

CHUNK = 65536  # bytes, read at once
TURN = 2e-4  # seconds before its end that a sleep is replaced by a loop, as it ends late


class Link(NamedTuple):
  """A link between a device and a server.

  Attributes:
    bandwidth: in each direction, Mbit/s.
    round_trip: of a bit there and back, ms.
  """

  bandwidth: float
  round_trip: float

  def sending_ms(self, size: float) -> float:
    """Returns the milliseconds that so many bytes occupy the link."""
    return size * 8 / (1e3 * self.bandwidth)


class ThrottledLink:
  """A TCP proxy on this machine that forwards as slowly as a link would.

  What comes in is forwarded in both directions after the time that its bytes occupy the link and
  half of the round trip. Opening a connection takes no time.

  Args:
    link: to imitate.
    port: of the server, on this machine.

  Attributes:
    port: that it listens at, on this machine.
    up, down: bytes that were forwarded to the server, and from it.
  """

  def __init__(self, link: Link, port: int):
    self._link, self._to = link, port
    self._listening = socket.create_server(('127.0.0.1', 0))
    self._open: list[socket.socket] = []
    self.port: int = self._listening.getsockname()[1]
    self.up = self.down = 0

  def __enter__(self) -> Self:
    threading.Thread(target=self._accept, daemon=True).start()
    return self

  def __exit__(self, *_: object) -> None:
    for each in (self._listening, *self._open):
      _shut(each)

  def _accept(self) -> None:
    while True:
      try:
        device = self._listening.accept()[0]
      except OSError:  # it was closed
        return
      try:
        server = socket.create_connection(('127.0.0.1', self._to))
      except OSError:  # as a server that is not there
        _shut(device)
        continue
      self._open += [device, server]
      for each in (device, server):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
      self._forward(device, server, 'up')
      self._forward(server, device, 'down')

  def _forward(self, source: socket.socket, target: socket.socket, way: str) -> None:
    """Starts two threads: one reads and notes when its bytes arrive, the other delivers them."""
    line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def read() -> None:
      is_free = 0.0
      while True:
        try:
          data = source.recv(CHUNK)
        except OSError:
          data = b''
        is_free = max(is_free, time.perf_counter()) + self._link.sending_ms(len(data)) / 1e3
        setattr(self, way, getattr(self, way) + len(data))
        line.put((is_free + self._link.round_trip / 2e3, data))
        if not data:
          return

    def deliver() -> None:
      while True:
        arrival, data = line.get()
        sleep_until(arrival)
        try:
          if data:
            target.sendall(data)
            continue
          target.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has closed it
          _shut(source)
        return

    for work in (read, deliver):
      threading.Thread(target=work, daemon=True).start()


def sleep_until(moment: float) -> None:
  """Sleeps until a time of `time.perf_counter`, more precisely than `time.sleep`."""
  left = moment - time.perf_counter() - TURN
  if left > 0:
    time.sleep(left)
  while time.perf_counter() < moment:
    pass


def _shut(each: socket.socket) -> None:
  """Ends a connection, also for a thread that waits for it."""
  with contextlib.suppress(OSError):  # it has ended already
    each.shutdown(socket.SHUT_RDWR)
  each.close()
