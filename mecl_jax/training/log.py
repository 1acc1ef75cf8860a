"""The output of a run while it trains: console, metrics.jsonl and TensorBoard."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import datetime
import json
import pathlib
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mecl_jax.files import write_text
from mecl_jax.training.events import Events

PLAIN_SECONDS = 10.0  # between two progress lines if the output is not a terminal


def make_console() -> Console:
  """Makes the console; if the output is not a terminal, 120 columns wide for the tables."""
  console = Console(highlight=False)
  return console if console.is_terminal else Console(highlight=False, width=120)


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
    step: steps of the run that are done; later records, of before an interruption, are removed.
  """

  def __init__(self, workdir: pathlib.Path, step: int):
    path = workdir / 'metrics.jsonl'
    kept = [record for record in read_metrics(path) if record['step'] <= step]
    write_text(path, ''.join(json.dumps(record) + '\n' for record in kept))
    self._lines = path.open('a', buffering=1)
    self._events = Events(workdir / 'tensorboard', purge_step=step + 1)

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
  """Reads the records of a metrics.jsonl without an unfinished last line; [] without a file."""
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  return [json.loads(line) for line in lines if line.endswith('\n')]


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
