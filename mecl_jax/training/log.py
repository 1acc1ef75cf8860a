"""The output of a run while it trains: console, metrics.jsonl and TensorBoard."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import datetime
import functools
import json
import logging
import pathlib
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from mecl_jax.errors import UserError, first_line
from mecl_jax.files import write_text

logger = logging.getLogger(__name__)
_reported: set[tuple[pathlib.Path, int]] = set()  # so that two readers give one warning

PLAIN_SECONDS = 10.0  # between two progress lines if the output is not a terminal


def make_console() -> Console:
  """Makes the console; if the output is not a terminal, 120 columns wide for the tables.

  Text is printed as it is: a path or a class may be named `[/red]` or `:car:`, which Rich would
  otherwise read as a colour or an emoji.
  """
  plain = functools.partial(Console, highlight=False, markup=False, emoji=False)
  console = plain()
  return console if console.is_terminal else plain(width=120)


class Bar:
  """The progress of some work: a live bar in a terminal, else a line every 10 seconds."""

  def __init__(self, console: Console, name: str, total: int, done: int = 0):
    self._console, self._name, self._total = console, name, total
    self._live = None
    self._next_line = time.monotonic() + PLAIN_SECONDS
    self._done, self._text = done, ''
    self._timed_from: tuple[float, int] | None = None  # the first update, after compilation
    if console.is_terminal:
      self._live = Progress(
        TextColumn('{task.description}'),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn('{task.fields[text]}'),
        console=console,
      )
      self._task = self._live.add_task(name, total=total, completed=done, text='')

  def __enter__(self) -> 'Bar':
    if self._live:
      self._live.start()
    return self

  def __exit__(self, *_) -> None:
    if self._live:
      self._live.stop()
    elif self._text:
      self._print()

  def update(self, done: int, text: str | None = None) -> None:
    """Moves to `done` of the total; `text` replaces the text beside the bar."""
    self._done, self._text = done, self._text if text is None else text
    self._timed_from = self._timed_from or (time.monotonic(), done)
    if self._live:
      self._live.update(self._task, completed=done, text=self._text)
    elif time.monotonic() >= self._next_line:
      self._print()

  def _print(self) -> None:
    line = f'{self._name} {self._done}/{self._total}{self._time_left()}  {self._text}'
    self._console.print(line, soft_wrap=True)
    self._next_line = time.monotonic() + PLAIN_SECONDS

  def _time_left(self) -> str:
    since, first = self._timed_from or (0.0, self._done)
    if not first < self._done < self._total:
      return ''
    seconds = (time.monotonic() - since) * (self._total - self._done) / (self._done - first)
    return f'  {datetime.timedelta(seconds=round(seconds))} left'


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
      self._events = SummaryWriter(str(workdir / 'tensorboard'), purge_step=step + 1)
      self._lines = path.open('a', buffering=1)
    except OSError as error:
      place = error.filename or path
      raise UserError(f'{place} cannot be written: {error.strerror or first_line(error)}') from None

  def __enter__(self) -> 'MetricsLog':
    return self

  def __exit__(self, *_) -> None:
    self._lines.close()
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
def work(console: Console, name: str, total: int, check: Callable[[], None]) -> Iterator[Callable]:
  """Shows a bar for work on images; yields the callback that takes the number of images done."""
  with Bar(console, name, total) as bar:

    def on_batch(done: int) -> None:
      check()
      bar.update(done)

    yield on_batch
