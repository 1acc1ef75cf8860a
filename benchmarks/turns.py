"""Processes that run functions by name and take turns, and ratios within a turn.

JAX and PyTorch in one process share memory, threads and the interpreter. Here each side has a
process of its own, and only one of them works at a time. The speed of a machine drifts; the ratio
of two sides that were measured one after the other drifts much less.

A worker reads a line of JSON from its standard input for each call, `[function, arguments]`, and
answers with a line, `{"value": ..}` or `{"error": ..}`. It ends when its input is closed, so that
no worker outlives its parent.
"""

from collections.abc import Callable, Mapping
import contextlib
import importlib
import itertools
import json
import os
import pathlib
import select
import signal
import statistics
import subprocess
import sys
import time
import traceback
from typing import Any, TextIO

ROOT = pathlib.Path(__file__).resolve().parent.parent


class WorkerError(Exception):
  """A call failed in a worker; the message is that of its error."""


class WorkerTimeout(WorkerError):
  """A call took too long; the worker was ended."""


class Worker:
  """A process that runs functions by name, one at a time.

  Args:
    python: interpreter.
    environment: variables to add.
    log: file for what the worker prints; None: standard error.
  """

  def __init__(
    self,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    log: TextIO | None = None,
  ):
    paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
    path = {'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    self._process = subprocess.Popen(
      [python, '-m', 'benchmarks.turns'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=log,
      env=os.environ | path | dict(environment or {}),
      start_new_session=True,  # Ctrl-C reaches the parent only, which then ends its workers
    )
    self._received = b''

  def __enter__(self) -> 'Worker':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def start(self, function: str, **arguments: Any) -> None:
    """Starts a call of `function`, 'module:name', with arguments that JSON can hold.

    Raises:
      WorkerError: the process has ended.
    """
    assert self._process.stdin
    line = json.dumps([function, arguments]).encode() + b'\n'
    try:
      self._process.stdin.write(line)
      self._process.stdin.flush()
    except (OSError, ValueError):  # the process ended, or `wait` has closed it
      self.close()
      raise WorkerError(self._ended()) from None

  def wait(self, seconds: float | None = None) -> Any:
    """Waits for the call that was started; returns its value.

    Raises:
      WorkerTimeout: it takes longer than `seconds`; the worker is ended.
      WorkerError: it failed, or the process ended.
    """
    assert self._process.stdout
    end, handle = time.monotonic() + (seconds or float('inf')), self._process.stdout.fileno()
    while b'\n' not in self._received:
      left = end - time.monotonic()
      if seconds is not None and left <= 0:
        self.close()
        raise WorkerTimeout(f'no answer within {seconds:.0f} s')
      if select.select([handle], [], [], min(left, 3600))[0]:
        part = os.read(handle, 1 << 16)
        if not part:
          raise WorkerError(self._ended())
        self._received += part
    line, _, self._received = self._received.partition(b'\n')
    answer = json.loads(line)
    if 'error' in answer:
      raise WorkerError(answer['error'])
    return answer['value']

  def call(self, function: str, timeout: float | None = None, **arguments: Any) -> Any:
    """Starts a call and waits for it; see `start` and `wait`."""
    self.start(function, **arguments)
    return self.wait(timeout)

  def cpu_seconds(self) -> float | None:
    """Returns the processor time that the worker has used; None without /proc."""
    try:
      fields = pathlib.Path(f'/proc/{self._process.pid}/stat').read_text().rpartition(')')[2]
    except OSError:
      return None
    user, system = map(int, fields.split()[11:13])
    return (user + system) / os.sysconf('SC_CLK_TCK')

  def close(self) -> None:
    """Ends the process and those that it has started."""
    for pipe in (self._process.stdin, self._process.stdout):
      if pipe:
        with contextlib.suppress(OSError):  # what could not be written to a dead process
          pipe.close()
    if self._process.poll() is None:
      with contextlib.suppress(subprocess.TimeoutExpired):
        self._process.wait(2)  # a worker that waits ends by itself, since its input is closed
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self._process.pid, signal.SIGKILL)
    self._process.wait()

  def _ended(self) -> str:
    return f'the worker ended with code {self._process.wait()}'


def take_turns(
  sides: Mapping[str, Callable[[], float]], rounds: int, *, until: float = float('inf')
) -> dict[str, list[float]]:
  """Calls the sides one after the other, in another order in every round.

  Args:
    sides: name -> function that measures once.
    rounds: number of rounds.
    until: `time.monotonic()` after which no round starts, except the first.

  Returns:
    name -> what its function returned in every round.
  """
  measured: dict[str, list[float]] = {name: [] for name in sides}
  orders = itertools.cycle(itertools.permutations(sides))
  for turn in range(rounds):
    if turn and time.monotonic() >= until:
      break
    for name in next(orders):
      measured[name].append(sides[name]())
  return measured


def workers_in_turns(
  calls: Mapping[str, tuple[Worker, Callable[[Worker], float]]],
  rounds: int,
  *,
  until: float = float('inf'),
) -> tuple[dict[str, list[float]], float | None]:
  """Takes turns between workers, and watches that those which wait do nothing.

  Args:
    calls: name -> worker, and the function that measures with it.
    rounds, until: see `take_turns`.

  Returns:
    what `take_turns` returns, and the largest share of one core that the workers which had to wait
    used during a turn; None if that is not known.
  """
  shares: list[float] = []

  def timed(worker: Worker, measure: Callable[[Worker], float]) -> Callable[[], float]:
    others = {id(w): w for w, _ in calls.values() if w is not worker}.values()

    def used() -> float:
      return sum(other.cpu_seconds() or 0.0 for other in others)

    def run() -> float:
      before, start = used(), time.monotonic()
      value = measure(worker)
      shares.append((used() - before) / (time.monotonic() - start))
      return value

    return run

  measured = take_turns({name: timed(*call) for name, call in calls.items()}, rounds, until=until)
  known = all(worker.cpu_seconds() is not None for worker, _ in calls.values())
  return measured, max(shares) if known else None


def spread(values: list[float]) -> dict[str, float]:
  """Returns `min`, `median` and `max` of some values."""
  return {'min': min(values), 'median': statistics.median(values), 'max': max(values)}


def ratio(of: list[float], to: list[float]) -> dict[str, float]:
  """Returns `spread` of the ratios within each turn, `of` over `to`."""
  return spread([a / b for a, b in zip(of, to, strict=True)])


def _answer(line: str) -> dict[str, Any]:
  name, arguments = json.loads(line)
  module, _, function = name.partition(':')
  try:
    return {'value': getattr(importlib.import_module(module), function)(**arguments)}
  except Exception as error:  # the parent reports it
    traceback.print_exc()
    return {'error': f'{type(error).__name__}: {error}'.splitlines()[0][:500]}


def main() -> None:
  """Answers calls until the input is closed."""
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print must not mix with the answers
  for line in sys.stdin:
    print(json.dumps(_answer(line)), file=answers, flush=True)


if __name__ == '__main__':
  main()
