"""Ctrl-C and SIGTERM as requests to stop at the next safe point."""

import signal
import threading
import types


class Interrupted(Exception):
  """A run stopped on request, after it saved what it needs to resume."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    # 130 is what shells expect of Ctrl-C; a scheduler takes 0 after its SIGTERM for success.
    self.exit_code = 130 if number == signal.SIGINT else 0


class Interruption:
  """A context that handles SIGINT and SIGTERM.

  At first a signal raises Interrupted at once, since there is nothing to save. After
  `wait_for_safe_points` the first signal is stored in `signal`, and a second signal has its
  default effect. A stored signal that no code reacted to is passed to the surrounding Interruption,
  if this run is part of a longer one.
  """

  def __init__(self):
    self.signal = 0
    self._at_once = True
    self._previous = {}

  def __enter__(self) -> 'Interruption':
    if threading.current_thread() is threading.main_thread():  # only this one can have handlers
      self._previous = {n: signal.signal(n, self._store) for n in (signal.SIGINT, signal.SIGTERM)}
    return self

  def __exit__(self, kind: type | None, *_) -> None:
    self._restore()
    around = getattr(self._previous.get(self.signal), '__self__', None)
    if kind is None and isinstance(around, Interruption):
      around._store(self.signal, None)

  def _store(self, number: int, frame: types.FrameType | None) -> None:
    self.signal = number
    self._restore()
    if self._at_once:
      self.check()

  def wait_for_safe_points(self) -> None:
    """Stops raising at once; the code reads `signal`, or calls `check`, where it may stop."""
    self._at_once = False

  def _restore(self) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def check(self, *_) -> None:
    """Raises Interrupted after a signal; for work that the next start repeats."""
    if self.signal:
      raise Interrupted(self.signal)
