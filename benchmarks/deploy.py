"""Measures the bundles of a trained run beside JAX and PyTorch on a CPU.

  pip install -e '.[export]'
  python -m benchmarks.deploy --workdir=RUN [--name=NAME] [--results=benchmarks/results]
                              [--torch-python=PATH] [--rounds=5] [--seconds=120]

Bundles that the run does not have (bundle/, bundle-float16/, bundle-int8/) are exported first. Then
each bundle answers test images by its early_exit.py, JAX by `mecl_jax.inference.EarlyExit`, and
PyTorch runs the same layers eagerly to the last exit, if it is there and the backbone is a ResNet
for small images. Images come one at a time and in batches of 256; they all stop at one exit, or
leave by an operating point. All sides use all cores; each has a process of its own, and they take
turns, so that the ratios are those within a turn. JAX uses the operating points of the float32
bundle, the others have their own.

For the float32 bundle, the share of the saving that the times of its segments allow is measured
too, and how many deadlines it meets, on an idle machine and beside two busy processes. Nothing else
should run on the machine: a ResNet-56 then takes three to four minutes on two cores. The results
are in deploy-NAME.cpu.json; NAME is the folder's name by default. `python -m benchmarks.table` then
writes the tables of docs/deploy.md.
"""

import argparse
from collections.abc import Iterator, Mapping
import contextlib
import functools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from benchmarks import deploy_table, facts
from benchmarks.deadlines import busy_processes
from benchmarks.deployed import cases
from benchmarks.deployed.cases import CALLS, FLOAT32, JAX, PRECISIONS, TORCH, Case
from benchmarks.turns import Worker, WorkerError, ratio, spread, workers_in_turns
from mecl_jax.errors import RunError, UserError
from mecl_jax.files import read_json, write_json

FORMAT, VERSION = 'mecl_jax deployment benchmark', 1

ONNX_SIDE, JAX_SIDE = 'benchmarks.deployed.onnx_side', 'benchmarks.deployed.jax_side'
TORCH_SIDE = 'benchmarks.deployed.torch_side'
POINT_OF_SAVING = 'balanced'
SAVING_BATCHES, SAVING_TURNS = {1: 256, 256: 2}, 6
SHARES, BUSY, ANSWERS = (0.5, 0.75, 1.0), (0, 2), 200  # deadlines; processes; images of a row


class Side(NamedTuple):
  """A process that answers images, and the module with its functions."""

  worker: Worker
  module: str

  def call(self, function: str, **arguments: Any) -> Any:
    """Calls a function of the side."""
    return self.worker.call(f'{self.module}:{function}', **arguments)


def read_bundles(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Returns the fields of the bundle of each precision; exports those that are missing.

  Raises:
    RunError: an export fails.
  """
  for precision in PRECISIONS:
    if not (workdir / cases.folder_of(precision) / 'bundle.json').exists():
      _export(workdir, precision)
  return {each: read_json(workdir / cases.folder_of(each) / 'bundle.json') for each in PRECISIONS}


def _export(workdir: pathlib.Path, precision: str) -> None:
  quantise = 'none' if precision == FLOAT32 else precision
  command = [sys.executable, '-m', 'mecl_jax.main', '--mode=export', f'--workdir={workdir}']
  if subprocess.run([*command, f'--config.export.quantise={quantise}'], check=False).returncode:
    raise RunError(
      f'{workdir} has no {cases.folder_of(precision)}, and its export failed, see above'
    )


def time_case(
  sides: Mapping[str, Side], case: Case, *, rounds: int, until: float
) -> dict[str, Any]:
  """Times a case on all sides that have it.

  Returns:
    by side: milliseconds of a batch, ratio of the milliseconds of JAX to these within a turn, mean
    exit and accuracy of the answers; also the largest share of a core that waiting sides used.
  """
  least = {**case._asdict(), 'calls': CALLS[case.batch][0]}
  effects = {name: side.call('prepare', **least) for name, side in sides.items()}
  cases.check_same_answers(case, effects)
  calls = cases.calls_of_turn(case.batch, sides[JAX].call('measure', **least))
  measure = functools.partial(_measure, case=case, calls=calls)
  timed = {
    name: (side.worker, functools.partial(measure, side.module)) for name, side in sides.items()
  }
  spent, waiting = workers_in_turns(timed, rounds, until=until)
  of_sides = {
    name: {'ms': spread(ms), 'jax_to_this': ratio(spent[JAX], ms), **effects[name]}
    for name, ms in spent.items()
  }
  shape = {**case._asdict(), 'calls': calls, 'rounds': len(spent[JAX])}
  return {**shape, 'sides': of_sides, 'waiting_used_of_a_core': waiting}


def _measure(module: str, worker: Worker, *, case: Case, calls: int) -> float:
  return Side(worker, module).call('measure', **case._asdict(), calls=calls)


def time_cases(
  sides: Mapping[str, Side], bundles: Mapping[str, Any], *, rounds: int, seconds: float
) -> Iterator[dict[str, Any]]:
  """Yields and prints the row of every case.

  No round of a case but the first starts once the case has used its share of the time.
  """
  points = {name: list(bundle['policies']) for name, bundle in bundles.items()}
  points[JAX] = points[FLOAT32]
  of_run, began = cases.cases(bundles[FLOAT32]), time.monotonic()
  last = bundles[FLOAT32]['exits'][-1]['name']
  for number, case in enumerate(of_run, 1):
    chosen = {name: sides[name] for name in cases.sides_of(case, sides, last, points)}
    until = began + seconds * number / len(of_run)
    row = time_case(chosen, case, rounds=rounds, until=until)
    print(deploy_table.line_of(row), flush=True)
    yield row


def time_deadlines(side: Side) -> list[dict[str, Any]]:
  """Answers images by deadlines that are shares of the latency on the idle machine."""
  full_ms, rows = side.call('full_latency'), list[dict[str, Any]]()
  for busy in BUSY:
    with busy_processes(busy):
      for share in SHARES:
        row = side.call('deadlines', deadline_ms=share * full_ms, count=ANSWERS)
        rows.append({'share': share, 'busy': busy, 'images': ANSWERS, **row})
  return rows


def measure_run(
  stack: contextlib.ExitStack, bundles: Mapping[str, Any], flags: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Measures a run; returns the facts of the sides and the results.

  Args:
    stack: ends the processes.
    bundles: by precision, the fields of bundle.json.
    flags: of the command.

  Raises:
    WorkerError: a side fails.
    RunError: the bundles are not those of the run.
  """
  folder = stack.enter_context(tempfile.TemporaryDirectory())
  cores, first = len(os.sched_getaffinity(0)), bundles[FLOAT32]
  sides = {JAX: Side(stack.enter_context(Worker()), JAX_SIDE)}
  found = sides[JAX].worker.call('benchmarks.jax_side:facts')
  opened = {'workdir': str(flags.workdir), 'folder': folder, 'policies': first['policies']}
  network = sides[JAX].call('open_run', **opened)
  for each in PRECISIONS:
    side = sides[each] = Side(stack.enter_context(Worker()), ONNX_SIDE)
    bundle = str(flags.workdir / cases.folder_of(each))
    found |= side.call('open_bundle', bundle=bundle, folder=folder, threads=cores)
  try:
    side = Side(stack.enter_context(Worker(flags.torch_python)), TORCH_SIDE)
    found |= side.call('open_network', network=network, folder=folder, threads=cores)
    sides[TORCH] = side
  except (WorkerError, OSError) as error:
    print(f'PyTorch is left out: {error}', file=sys.stderr)
  times = list(time_cases(sides, bundles, rounds=flags.rounds, seconds=flags.seconds))
  of_float32 = sides[FLOAT32]
  results = {
    'network': network,
    'bundles': {
      each: cases.describe(bundles[each], flags.workdir / cases.folder_of(each)) for each in bundles
    },
    'times': times,
    'savings': [
      of_float32.call('saving', name=name, batch=batch, count=count, turns=SAVING_TURNS)
      for name in first['policies']
      if name == POINT_OF_SAVING
      for batch, count in SAVING_BATCHES.items()
    ],
    'deadlines': time_deadlines(of_float32),
  }
  return found, results


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='deploy'
  )
  add = parser.add_argument
  add('--workdir', type=pathlib.Path, required=True, help='of a trained run')
  add('--name', default='', help='of the results; default: that of the folder')
  add('--results', type=pathlib.Path, default=pathlib.Path('benchmarks/results'))
  add('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
  add('--rounds', type=int, default=5, help='turns of every side, at most')
  add('--seconds', type=float, default=120, help='of all turns; each case has one at least')
  flags = parser.parse_args(argv)
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers are ended
  name, began = facts.slug(flags.name or flags.workdir.resolve().name), time.monotonic()
  try:
    bundles = read_bundles(flags.workdir)
    with contextlib.ExitStack() as stack:
      found, results = measure_run(stack, bundles, flags)
  except (UserError, RunError) as error:
    print(f'error: {error}', file=sys.stderr)
    return error.exit_code
  except WorkerError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  found = facts.of_this_process() | found
  head = {'format': FORMAT, 'version': VERSION, 'facts': found}
  content = {'name': name, 'run': bundles[FLOAT32]['run'], **results}
  written = head | {'result': {**content, 'seconds': time.monotonic() - began}}
  path = flags.results / f'deploy-{name}.cpu.json'
  write_json(path, written)
  print('', deploy_table.block([written]), path, sep='\n')
  return 0


if __name__ == '__main__':
  sys.exit(main())
