"""Stops runs at random moments, and checks that they end as runs that were not stopped.

python -m tests.sweep [--kills=100] [--terms=20] [--interrupts=20] [--seed=0] [--workers=2]

Every strategy, and every teacher that trains networks, is a small run. It is stopped by SIGKILL,
SIGTERM or SIGINT at a moment between its start and its end, and started again with the same
command, until it ends. Then its parameters, predictions, summary and tables must be those of a run
that was not stopped, and there must be no other files. At most 20 minutes on two CPU cores.
"""

import argparse
import collections
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
import dataclasses
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from ml_collections import ConfigDict
import numpy as np

import tests.conftest  # noqa: F401  (sets what makes tiny networks compile fast)
from tests.toys import make_arrays, make_config, write_config_file

ROOT = pathlib.Path(__file__).parent.parent
START_SECONDS = 1.0  # in which Python itself starts, and a signal cannot be handled yet
STOP_SECONDS = 30.0  # within which a process ends after a signal, also on a busy machine
RUN_SECONDS = 300.0  # within which a run ends
ANY = ('tensorboard', '.lock')  # one file of events per start; the lock of an ended process


def _classifier_wise(c: ConfigDict) -> None:
  c.report.page = True


def _joint(c: ConfigDict) -> None:
  c.strategy, c.data.placement, c.steps_per_dispatch = 'joint', 'host', 2
  c.distillation.weight, c.curriculum.sample_weights = 0.5, 'survivors'


def _layer_wise(c: ConfigDict) -> None:
  c.strategy, c.curriculum.order, c.report.page = 'layer_wise', 'random', True


def _mixed(c: ConfigDict) -> None:
  c.strategy, c.curriculum.sample_weights = 'mixed', 'easy_weighted'


def _learning_speed(c: ConfigDict) -> None:
  c.curriculum.teacher = 'learning_speed'
  c.model.head, c.model.head_width = 'cascade_mlp', 8  # with dropout


def _cross_validated(c: ConfigDict) -> None:
  c.curriculum.teacher, c.curriculum.folds, c.curriculum.repeats = 'cross_validated', 2, 1


CASES: dict[str, Callable[[ConfigDict], None]] = {
  'classifier_wise': _classifier_wise,
  'joint': _joint,
  'layer_wise': _layer_wise,
  'mixed': _mixed,
  'learning_speed': _learning_speed,
  'cross_validated': _cross_validated,
}


@dataclasses.dataclass(frozen=True)
class Stop:
  """A signal that stops a run.

  Attributes:
    number: of the stop, in the order of the sweep.
    signal: that is sent.
    moment: at which it is sent, as a share of the seconds of a whole run.
  """

  number: int
  signal: signal.Signals
  moment: float


@dataclasses.dataclass(frozen=True)
class Whole:
  """A run that was not stopped."""

  config_file: pathlib.Path
  workdir: pathlib.Path
  seconds: float


@dataclasses.dataclass
class Found:
  """What a sweep found: stops by phase of the program, and failures as lines."""

  stops: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  failures: list[str] = dataclasses.field(default_factory=list)
  runs: int = 0


def make_stops(kills: int, terms: int, interrupts: int, seed: int) -> list[Stop]:
  """Returns the stops of a sweep in a random order."""
  chance = random.Random(seed)
  signals = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms + [signal.SIGINT] * interrupts
  chance.shuffle(signals)
  return [Stop(number, sent, chance.random()) for number, sent in enumerate(signals)]


def sweep(
  folder: pathlib.Path, stops: Sequence[Stop], cases: Sequence[str] = tuple(CASES), workers: int = 2
) -> Found:
  """Makes the runs of a sweep.

  Args:
    folder: for all files; failed runs stay in it.
    stops: in turn of each case.
    cases: names of `CASES`.
    workers: number of runs at the same time.
  """
  data = folder / 'toy.npz'
  np.savez(data, **make_arrays())
  found = Found()
  with ThreadPoolExecutor(workers) as pool:
    # The first run of a case compiles; the second is timed, and is the one to compare with.
    list(pool.map(lambda case: _whole(case, folder / 'first', data), cases))
    wholes = list(pool.map(lambda case: _whole(case, folder / 'whole', data), cases))
    parts = [stops[k :: len(cases)] for k in range(len(cases))]
    same = [folder / 'stopped'] * len(cases), [found] * len(cases)
    list(pool.map(_stopped, wholes, parts, *same))
  return found


def _whole(case: str, folder: pathlib.Path, data: pathlib.Path) -> Whole:
  """Trains a run to its end."""
  c = make_config(data)
  c.checkpoints.every_seconds = 0.0  # saves after every step
  CASES[case](c)
  workdir = folder / case
  workdir.mkdir(parents=True)
  config_file = write_config_file(c, folder / f'{case}.py')
  began = time.monotonic()
  with (folder / f'{case}.txt').open('w') as output:
    process = _start(config_file, workdir, output, subprocess.STDOUT)
    code = process.wait(RUN_SECONDS)
  assert code == 0, (folder / f'{case}.txt').read_text()
  return Whole(config_file, workdir, time.monotonic() - began)


def _stopped(whole: Whole, stops: Sequence[Stop], folder: pathlib.Path, found: Found) -> None:
  """Stops runs of one case as often as there are stops, and lets the last one end."""
  left = list(stops)
  while left:
    workdir = folder / f'{whole.workdir.name}-{left[0].number}'
    workdir.mkdir(parents=True)
    history = []
    ended = False
    while not ended:
      stop = left[0] if left else None
      ended, phase, problem = _run(whole, workdir, stop)
      if stop and ended and not phase and not history:
        phase = 'end'  # a whole run ended before its moment came
      if phase:
        history.append(f'{stop.signal.name} number {stop.number} in {phase}')
        found.stops[stop.signal.name, phase] += 1
        left.pop(0)
      if problem:
        break
    problem = problem or _difference(whole.workdir, workdir)
    found.runs += 1
    if problem:
      found.failures.append(f'{workdir}: {problem}; stopped by {", ".join(history)}')
      left = left if phase or not left else left[1:]
    else:
      shutil.rmtree(workdir)


def _run(
  whole: Whole, workdir: pathlib.Path, stop: Stop | None
) -> tuple[bool, str | None, str | None]:
  """Starts a run, and stops it.

  Returns:
    whether it ended; else the phase in which it was stopped; and what was wrong.
  """
  texts = [workdir.with_name(f'{workdir.name}.{kind}.txt') for kind in ('out', 'err')]
  with texts[0].open('w') as output, texts[1].open('w') as errors:
    process = _start(whole.config_file, workdir, output, errors)
    try:
      if stop is None:
        process.wait(RUN_SECONDS)
      else:
        least = 0.0 if stop.signal == signal.SIGKILL else START_SECONDS
        process.wait(least + stop.moment * whole.seconds)
      phase = None
    except subprocess.TimeoutExpired:
      if stop is None:
        process.kill()
        process.wait()
        return False, None, f'it did not end within {RUN_SECONDS:.0f} s'
      phase = _phase(workdir, texts[0])
      process.send_signal(stop.signal)
      try:
        process.wait(STOP_SECONDS)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False, phase, f'{stop.signal.name} did not end it within {STOP_SECONDS:.0f} s'
  printed, code = texts[1].read_text(), process.returncode
  if phase and stop and code == -signal.SIGKILL == -stop.signal:
    return False, phase, None
  if code == 0 and not printed:
    return True, phase, None  # it was about to end
  if phase and stop and _is_stop(code, printed, stop.signal, phase):
    return False, phase, None
  return False, phase, f'exit code {code}: {printed or "no message"}'


def _start(config_file, workdir, output, errors) -> subprocess.Popen:
  command = [sys.executable, '-m', 'mecl_jax.main', f'--config={config_file}']
  return subprocess.Popen(
    [*command, f'--workdir={workdir}'], cwd=ROOT, stdout=output, stderr=errors, text=True
  )


def _is_stop(code: int, printed: str, sent: signal.Signals, phase: str) -> bool:
  """Returns whether a process ended by a signal with one line and the right exit code."""
  if phase == 'end' and code == -sent and not printed:
    return True  # Python itself was ending, when it handles signals no more
  codes = {130} if sent == signal.SIGINT else {0, 143}  # 0: what was done is saved
  return (
    code in codes and printed.count('\n') == 1 and printed.startswith(f'stopped by {sent.name};')
  )


def _phase(workdir: pathlib.Path, output: pathlib.Path) -> str:
  """Returns what a run is doing, by its files."""
  if not output.read_text():
    return 'start'
  if list(workdir.glob('.outcome*')):
    return 'report'
  if (workdir / 'summary.json').exists():
    return 'end'
  if (workdir / 'predictions.npz').exists():
    return 'report'
  if list(workdir.rglob('*orbax-checkpoint-tmp*')):
    return 'saving'
  if (workdir / 'teacher').exists() and not (workdir / 'difficulty.npz').exists():
    return 'teacher'
  return 'training' if list(workdir.glob('checkpoints/[0-9]*')) else 'opening'


def _difference(whole: pathlib.Path, stopped: pathlib.Path) -> str | None:
  """Returns how a run differs from one that was not stopped; None if it does not."""
  from tests.commands.test_resume import assert_same, result

  more, less = _files(stopped) - _files(whole), _files(whole) - _files(stopped)
  if more or less:
    return f'files too many: {sorted(more)}, missing: {sorted(less)}'
  try:
    assert_same(result(whole), result(stopped))
  except AssertionError as error:
    return f'the results differ: {error}'
  for name in ('operating_points', 'exits'):
    tables = [workdir / 'report/tables' / f'{name}.csv' for workdir in (whole, stopped)]
    if tables[0].exists() and tables[0].read_bytes() != tables[1].read_bytes():
      return f'{tables[0].name} differs'
  return None


def _files(workdir: pathlib.Path) -> set[str]:
  """Returns the files of a run; of a checkpoint its folder only, whose files have random names."""

  def names(folder: pathlib.Path) -> Iterator[str]:
    for path in folder.iterdir():
      name = str(path.relative_to(workdir))
      if path.name in ANY:
        continue
      yield name
      if path.is_dir() and folder.name != 'checkpoints':
        yield from names(path)

  return set(names(workdir))


def table(found: Found) -> str:
  """Returns the stops by signal and phase as lines of text."""
  phases = sorted({phase for _, phase in found.stops})
  rows = [('', *phases, 'all')]
  for name in sorted({name for name, _ in found.stops}):
    counts = [found.stops[name, phase] for phase in phases]
    rows.append((name, *map(str, counts), str(sum(counts))))
  return '\n'.join('  '.join(f'{cell:>8}' for cell in row) for row in rows)


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  for name, default in {
    'kills': 100,
    'terms': 20,
    'interrupts': 20,
    'seed': 0,
    'workers': 2,
  }.items():
    parser.add_argument(f'--{name}', type=int, default=default)
  options = parser.parse_args()
  folder = pathlib.Path(tempfile.mkdtemp(prefix='mecl_jax-sweep-'))
  began = time.monotonic()
  stops = make_stops(options.kills, options.terms, options.interrupts, options.seed)
  found = sweep(folder, stops, workers=options.workers)
  print(table(found))
  seconds = time.monotonic() - began
  print(
    f'{len(stops)} stops of {found.runs} runs in {seconds:.0f} s, seed {options.seed}:'
    f' {len(found.failures)} failures'
  )
  for failure in found.failures:
    print(f'FAILED {failure}')
  if not found.failures:
    shutil.rmtree(folder)
  return 1 if found.failures else 0


if __name__ == '__main__':
  sys.exit(main())
