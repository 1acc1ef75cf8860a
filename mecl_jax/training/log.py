"""The output of a run while it trains: console, metrics.jsonl and TensorBoard."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import datetime
import functools
import json
import logging
import pathlib
import sys
import threading
import time
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from mecl_jax.errors import UserError, first_line
from mecl_jax.files import write_text
from mecl_jax.training.events import Events

logger = logging.getLogger(__name__)
_reported: set[tuple[pathlib.Path, int]] = set()  # so that two readers give one warning

PLAIN_SECONDS = 10.0  # between two progress lines if the output is not a terminal
SHORT_SECONDS = 1.0  # work that takes less is not mentioned there
RATE_SECONDS = 60.0  # that the time left is estimated from
WIDE, WIDE_BAR, NARROW_BAR = 100, 20, 10  # columns of a wide terminal, and of the bar in it or not


def make_console() -> Console:
  """Makes the console; if the output is not a terminal, 120 columns wide for the tables.

  Text is printed as it is: a path or a class may be named `[/red]` or `:car:`, which Rich would
  otherwise read as a colour or an emoji.
  """
  plain = functools.partial(Console, highlight=False, markup=False, emoji=False)
  console = plain()
  return console if console.is_terminal else plain(width=120)


class Bar:
  """The progress of some work: a live bar in a terminal, else a line every 10 seconds.

  Number of steps, total and time left are always shown. As many of the facts follow as there is
  room for in a terminal, in their order, and all of them in other output.

  Args:
    console: to print to.
    name: of the work.
    total: number of steps.
    done: steps that were done before.
    first: what happens until the first update, as 'compiling'.
  """

  def __init__(self, console: Console, name: str, total: int, done: int = 0, first: str = ''):
    self._console, self._name, self._total = console, name, total
    self._done, self._facts, self._now = done, tuple[str, ...](), first
    self._rate = _Rate()
    self._next_line = time.monotonic() + PLAIN_SECONDS
    self._note = contextlib.ExitStack()
    self._live = None
    if console.is_terminal:
      self._live = Progress(
        TextColumn('{task.description}', markup=False),
        BarColumn(bar_width=WIDE_BAR if console.width >= WIDE else NARROW_BAR),
        MofNCompleteColumn(),
        _Column(self._shown_time),
        _Column(self._shown_facts),
        console=console,
      )
      self._task = self._live.add_task(name, total=total, completed=done)

  def __enter__(self) -> 'Bar':
    if self._live:
      self._live.start()
    if self._now:
      self._note.enter_context(self._doing(self._now, SHORT_SECONDS))
    return self

  def __exit__(self, *_) -> None:
    self._note.close()
    if self._live:
      self._live.stop()
    elif self._facts:
      self._print()

  def update(self, done: int, facts: Sequence[str] | None = None, *, ahead: bool = False) -> None:
    """Moves to `done` of the total.

    Args:
      done: steps that are done.
      facts: replace those beside the bar, the most important one first.
      ahead: these steps wait for the device, which computes them later. The time left is estimated
        from steps that have ended.
    """
    self._note.close()
    self._done, self._facts = done, self._facts if facts is None else tuple(facts)
    if not (ahead and self._rate.started):
      self._rate.add(done)
    if self._live:
      self._live.update(self._task, completed=done)
    elif time.monotonic() >= self._next_line:
      self._print()

  def doing(self, what: str) -> contextlib.AbstractContextManager[None]:
    """Shows other work, as validation, whose time does not count for the time left."""
    return self._doing(what, max(SHORT_SECONDS, self._next_line - time.monotonic()))

  @contextlib.contextmanager
  def _doing(self, what: str, wait: float) -> Iterator[None]:
    before, self._now = self._now, what
    if self._live:
      self._live.refresh()
    try:
      with self._rate.paused(), _after(wait, lambda: None if self._live else self._print()):
        yield
    finally:
      self._now = '' if before == what else before

  def _print(self) -> None:
    left = self._time_left()
    facts = [f'{left} left' if left else '', *([self._now] if self._now else self._facts)]
    line = '  '.join((f'{self._name} {self._done}/{self._total}', *filter(None, facts)))
    self._console.print(line, soft_wrap=True, markup=False)
    self._next_line = time.monotonic() + PLAIN_SECONDS

  def _time_left(self) -> str:
    rate = self._rate.per_second()
    if not rate or self._done >= self._total:
      return ''
    return str(datetime.timedelta(seconds=round((self._total - self._done) / rate)))

  def _shown_time(self) -> str:
    unknown = '0:00:00' if self._done >= self._total else '-:--:--'
    return f'{self._time_left() or unknown} left'

  def _shown_facts(self) -> str:
    """Returns the facts that the terminal has room for; '..' stands for those left out."""
    width, count = self._console.width, 2 * len(str(self._total)) + 1
    bar = WIDE_BAR if width >= WIDE else NARROW_BAR
    room = width - cell_len(self._name) - bar - count - len(self._shown_time()) - 4  # gaps
    facts = (self._now,) if self._now else self._facts
    for number in range(len(facts), 0, -1):
      text = '  '.join((*facts[:number], *(['..'] if number < len(facts) else [])))
      if cell_len(text) <= room:
        return text
    return ''


class _Column(ProgressColumn):
  """A column of a live bar with the text that a function returns."""

  def __init__(self, text: Callable[[], str]):
    super().__init__(Column(no_wrap=True))
    self._text = text

  def render(self, task: Task) -> Text:
    return Text(self._text())


class _Rate:
  """The steps per second of the last minute, without pauses.

  Attributes:
    started: whether there is a first step, from which the time is counted. The step before it is
      not, since it is compiled first.
  """

  def __init__(self):
    self._points = collections.deque[tuple[float, int]]()  # seconds, steps
    self._lost = 0.0  # seconds in pauses
    self.started = False

  def add(self, done: int) -> None:
    """Adds the present moment, at which so many steps have ended."""
    now = time.monotonic() - self._lost
    self._points.append((now, done))
    self.started = True
    while len(self._points) > 2 and self._points[1][0] <= now - RATE_SECONDS:
      self._points.popleft()

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves out the time of this context."""
    began = time.monotonic()
    try:
      yield
    finally:
      self._lost += time.monotonic() - began

  def per_second(self) -> float:
    """Returns the rate; 0 if it is not known yet."""
    if not self._points:
      return 0.0
    (start, first), (end, last) = self._points[0], self._points[-1]
    return (last - first) / (end - start) if end > start else 0.0


@contextlib.contextmanager
def _after(seconds: float, act: Callable[[], None]) -> Iterator[None]:
  """Calls a function from another thread if this context lasts so long."""
  timer = threading.Timer(seconds, act)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


@contextlib.contextmanager
def doing(console: Console, what: str) -> Iterator[None]:
  """Shows what the program does while this context lasts, if that is more than a second.

  A terminal shows it only as long as it lasts. Other output has a line of it.
  """
  if console.is_terminal:
    with console.status(Text(f'{what} ..')):
      yield
    return
  with _after(SHORT_SECONDS, lambda: console.print(f'{what} ..', soft_wrap=True, markup=False)):
    yield


class MetricsLog:
  """The metrics.jsonl and TensorBoard events of a run.

  Args:
    workdir: of the run.
    step: steps of the run that are done; later records, of before an interruption, and damaged
      lines are removed.

  Raises:
    UserError: the files cannot be read or written.
  """

  def __init__(self, workdir: pathlib.Path, step: int):
    path = workdir / 'metrics.jsonl'
    kept = [record for record in read_metrics(path) if record['step'] <= step]
    try:
      write_text(path, ''.join(json.dumps(record) + '\n' for record in kept))
      self._lines = path.open('a', buffering=1)
      self._events = Events(workdir / 'tensorboard', purge_step=step + 1)
    except OSError as error:
      place = error.filename or path
      raise UserError(f'{place} cannot be written: {error.strerror or first_line(error)}') from None

  def __enter__(self) -> 'MetricsLog':
    return self

  def __exit__(self, *_) -> None:
    try:
      self._lines.close()
    finally:
      self._events.close()

  def write(self, record: Mapping[str, Any]) -> None:
    """Appends a record with a 'step'; its numbers become TensorBoard curves."""
    self._lines.write(json.dumps(record) + '\n')
    for name, value in _numbers(record):
      if name != 'step':
        self._events.add_scalar(name, value, record['step'])


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
  """Reads the records of a metrics.jsonl; [] without a file.

  A log is no state: damaged lines are skipped, and a warning has their number. An unfinished last
  line, which a killed process leaves, is skipped without a warning.

  Raises:
    UserError: the file cannot be read.
  """
  try:
    *lines, _ = path.read_bytes().split(b'\n')
  except FileNotFoundError:
    return []
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror or first_line(error)}') from None
  records = [record for record in map(_record, lines) if record]
  skipped = len(lines) - len(records)
  if skipped and (path, skipped) not in _reported:
    logger.warning('%d of %d lines of %s are damaged and were skipped', skipped, len(lines), path)
    _reported.add((path, skipped))
  return records


def _record(line: bytes) -> dict[str, Any] | None:
  """Returns the record in a line; None if a run cannot have written it."""
  try:
    found = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(found, dict) or not isinstance(found.get('phase'), str):
    return None
  values = [value for name, value in found.items() if name != 'phase']
  nested = [each for value in values if isinstance(value, dict) for each in value.values()]
  numbers = [value for value in values if not isinstance(value, dict)] + nested
  return found if type(found.get('step')) is int and all(map(_is_number, numbers)) else None


def _is_number(value: object) -> bool:
  """Returns whether a value is a finite number that fits a float."""
  return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _numbers(record: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, float]]:
  for key, value in record.items():
    if isinstance(value, Mapping):
      yield from _numbers(value, f'{prefix}{key}/')
    elif isinstance(value, int | float):
      yield prefix + key, value


@contextlib.contextmanager
def counted(console: Console, name: str, total: int) -> Iterator[Callable[[int], None]]:
  """Shows a bar for work on images; yields a function of the number of images done."""
  with Bar(console, name, total) as bar:
    yield bar.update


@contextlib.contextmanager
def work(console: Console, name: str, total: int, check: Callable[[], None]) -> Iterator[Callable]:
  """Shows a bar for work on images; yields a callback.

  The callback takes the number of images done, and may take facts to show beside it.
  """
  with Bar(console, name, total, first='compiling') as bar:

    def on_batch(done: int, facts: Sequence[str] | None = None) -> None:
      check()
      bar.update(done, facts)

    yield on_batch
