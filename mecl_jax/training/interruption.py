"""Ctrl-C and SIGTERM as a request to stop at the next safe point."""

import signal
import threading
import types


class Interrupted(Exception):
  """The run was asked to stop and has saved what it needs to go on."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    # Ctrl-C ends as the shell expects; a scheduler's SIGTERM that was honoured is no failure.
    self.exit_code = 130 if number == signal.SIGINT else 0


class Interruption:
  """What SIGINT and SIGTERM do while this is in use as a context.

  At first they raise Interrupted at once: there is nothing to save. After `wait_for_safe_points`
  the first one is only noted, and a second one acts as it would without this. What was noted and
  nobody obeyed is told to the one around it, where runs are parts of a longer work.
  """

  def __init__(self):
    self.signal = 0
    self._at_once = True
    self._previous = {}

  def __enter__(self) -> 'Interruption':
    if threading.current_thread() is threading.main_thread():  # others cannot have handlers
      self._previous = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
    return self

  def __exit__(self, kind: type | None, *_) -> None:
    self._restore()
    around = getattr(self._previous.get(self.signal), '__self__', None)
    if kind is None and isinstance(around, Interruption):
      around._note(self.signal, None)

  def _note(self, number: int, frame: types.FrameType | None) -> None:
    self.signal = number
    self._restore()
    if self._at_once:
      self.check()

  def wait_for_safe_points(self) -> None:
    """From now on whoever uses this asks for `signal`, or calls `check`, where it may stop."""
    self._at_once = False

  def _restore(self) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def check(self, *_) -> None:
    """Raises Interrupted if a stop was asked for; for work that is done anew on the next start."""
    if self.signal:
      raise Interrupted(self.signal)
