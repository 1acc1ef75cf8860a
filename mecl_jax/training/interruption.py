"""Ctrl-C and SIGTERM: a run that trains stops at its next safe point, anything else at once.

No handler of a signal raises an exception. Python runs handlers between any two of its
instructions, also inside a callback of JAX, which prints an exception and drops it.
"""

import os
import select
import signal
import sys
import threading
import time
import types
from typing import NoReturn

HANDLED = signal.SIGINT, signal.SIGTERM
# Signals within this time count as one: `timeout` and some schedulers send each signal twice.
ONE_SIGNAL_SECONDS = 1.0
HINT_SECONDS = 3.0  # after which a run in a terminal that has not stopped prints what can be done
_watched = False  # whether `watch` was called
_stored = False  # whether a run has stored the signal; the run may have ended since
_forking = threading.local()  # `.mask`: the signals that the forking thread held back before


class Interrupted(Exception):
  """A run stopped on request, after it saved what it needs to resume."""

  def __init__(self, number: int):
    super().__init__(signal.Signals(number).name)
    # 130 is what shells expect of Ctrl-C; a scheduler takes 0 after its SIGTERM for success.
    self.exit_code = 130 if number == signal.SIGINT else 0


class Interruption:
  """A context that turns SIGINT and SIGTERM into a request to stop.

  Before `wait_for_safe_points` a signal has its usual effect, since there is nothing to save. After
  it, the first signal is stored in `signal`, and the next one has its usual effect again. A part of
  a longer run, as the training of a teacher, stops with the run around it.
  """

  def __init__(self):
    self._signal = 0
    self._reported = False  # whether `check` has raised for the signal
    self._around: Interruption | None = None
    self._previous = {}

  def __enter__(self) -> 'Interruption':
    self._around = _waiting()
    return self

  def __exit__(self, error: type[BaseException] | None, *_) -> None:
    global _stored
    self._restore()
    if self._signal and not error and not self._reported:  # after the last safe point
      _stored = False
      signal.raise_signal(self._signal)

  @property
  def signal(self) -> int:
    """The number of the signal that was received, also by the run around this one; 0: none."""
    return self._signal or (self._around.signal if self._around else 0)

  def wait_for_safe_points(self) -> None:
    """Stores a signal from now on; the code reads `signal`, or calls `check`, where it may stop."""
    if self._around or threading.current_thread() is not threading.main_thread():
      return  # only the main thread can have handlers
    self._previous = {number: signal.signal(number, self._store) for number in HANDLED}

  def _store(self, number: int, frame: types.FrameType | None) -> None:
    global _stored
    if not self._signal:
      self._signal = number
      _stored = True
    else:
      self._restore()
      signal.raise_signal(number)

  def _restore(self) -> None:
    # SIGTERM first: `_waiting` reads its handler, and must not find it once SIGINT is not stored.
    for number, handler in reversed(self._previous.items()):
      signal.signal(number, handler)
    self._previous = {}

  def check(self, *_) -> None:
    """Raises Interrupted after a signal; for work that the next start repeats."""
    if self.signal:
      for run in filter(None, (self, self._around)):
        run._reported = True
      raise Interrupted(self.signal)


def watch() -> None:
  """Starts a thread that ends the process at a signal, unless a run can stop at a safe point.

  For programs, before JAX is imported. The thread reacts also during a long call into XLA, when
  Python runs no handler.
  """
  global _watched
  if _watched:
    return
  _watched = True
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  for number in HANDLED:  # signals with a handler are written to the pipe
    signal.signal(number, _leave_to_thread)
  os.register_at_fork(
    before=_hold_signals, after_in_parent=_release_signals, after_in_child=_stop_watching
  )
  threading.Thread(target=_end_at_signal, args=(reader,), name='signals', daemon=True).start()


def end_process(message: str, exit_code: int) -> NoReturn:
  """Prints one line to stderr and ends the process at once."""
  show_cursor = '\x1b[?25h\n' if os.isatty(2) else ''  # a live bar hides it
  # Not through sys.stderr, whose lock another thread may hold.
  os.write(2, f'{show_cursor}{message}\n'.encode())
  os._exit(exit_code)


def _waiting() -> Interruption | None:
  """Returns the Interruption that stores signals at the moment, if there is one."""
  found = getattr(signal.getsignal(signal.SIGTERM), '__self__', None)
  return found if isinstance(found, Interruption) else None


def _leave_to_thread(number: int, frame: types.FrameType | None) -> None:
  pass


def _hold_signals() -> None:
  """Holds signals back during a fork: the child would report its own through this pipe."""
  _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def _release_signals() -> None:
  signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _stop_watching() -> None:
  """Gives a forked process, which Ctrl-C in a terminal reaches too, the usual handlers."""
  signal.set_wakeup_fd(-1)
  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  _release_signals()


def _end_at_signal(reader: int) -> None:
  number = _next_signal(reader)
  _end_unless_stored(number)
  time.sleep(ONE_SIGNAL_SECONDS)
  _end_unless_stored(number)  # the run has ended without another safe point
  while select.select([reader], [], [], 0)[0]:
    os.read(reader, 1)
  if not select.select([reader], [], [], HINT_SECONDS)[0] and sys.stderr.isatty():
    print('stopping at the next step; Ctrl-C again stops at once', file=sys.stderr, flush=True)
  _end(_next_signal(reader), 'stopped at once by', 'resume from the last checkpoint')


def _end_unless_stored(number: int) -> None:
  if not (_waiting() or _stored):
    _end(number, 'stopped by', 'resume')


def _next_signal(reader: int) -> int:
  while (number := os.read(reader, 1)[0]) not in HANDLED:
    pass  # other signals with a handler
  return number


def _end(number: int, stopped: str, resume: str) -> NoReturn:
  name = signal.Signals(number).name
  end_process(f'{stopped} {name}; run the same command again to {resume}', 128 + number)
