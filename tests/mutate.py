"""Reads mutated inputs of every kind, and counts what the program does with them.

python -m tests.mutate --count=2000 [--seed=0] [--kinds=arrays.npz,weights.h5] [--verbose]

Each input is drawn from its seed, and read by one of two worker processes, which import the program
once. Tracebacks, crashes, hangs over 30 seconds and accepted nonsense are printed with their seed;
`--count=1 --seed=SEED --kinds=KIND` repeats one of them with its traceback. The exit code is the
number of kinds with a failure.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import pathlib
import random
import resource
import selectors
import subprocess
import sys
import tempfile
import traceback

SECONDS = 30  # that one input may take
MEMORY = 4 << 30  # bytes that a worker may take beyond what it has after its start
OUTCOMES = ('accepted', 'rejected', 'traceback', 'nonsense', 'hang', 'crash')


def work(kinds: list[str], jobs: list[int], *, verbose: bool) -> None:
  """Reads the inputs of the seeds, and prints a line of JSON before and after each."""
  from tests import mutated_inputs

  lines = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries print too
  for kind in set(kinds):  # whatever starts lazily starts before the limit of memory
    with tempfile.TemporaryDirectory() as folder:
      mutated_inputs.valid_files(kind, pathlib.Path(folder))
      mutated_inputs.KINDS[kind].read(pathlib.Path(folder))
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
  limit = pages * resource.getpagesize() + MEMORY
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  for seed in jobs:
    kind = kinds[seed % len(kinds)]
    print(json.dumps({'begins': seed}), file=lines)
    outcome, detail = 'traceback', ''
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
      try:
        rng = random.Random(f'{kind} {seed}')
        outcome = mutated_inputs.try_one(kind, rng, pathlib.Path(folder))
      except mutated_inputs.Nonsense as error:
        outcome, detail = 'nonsense', str(error)
      except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [f for f in traceback.extract_tb(error.__traceback__) if 'mecl_jax/' in f.filename]
        where = ours[-1] if ours else place
        detail = f'{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})'
        if verbose:
          traceback.print_exc()
    print(json.dumps({'ended': seed, 'outcome': outcome, 'detail': detail}), file=lines)


class Worker:
  """A process that reads inputs; it is started again after a crash or a hang."""

  def __init__(self, kinds: list[str], jobs: list[int], verbose: bool):
    self.jobs, self.now = jobs, None
    self._command = [sys.executable, '-m', 'tests.mutate', '--worker', f'--kinds={",".join(kinds)}']
    self._command += ['--verbose'] * verbose
    self._errors = None if verbose else subprocess.DEVNULL
    self.start()

  def start(self) -> None:
    """Starts the process with the jobs that are left."""
    self.process = subprocess.Popen(
      self._command,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      bufsize=0,
    )
    self.process.stdin.write(json.dumps(self.jobs).encode())
    self.process.stdin.close()

  def lines(self):
    """Yields (seed, outcome, detail) of every job."""
    while self.jobs:
      with selectors.DefaultSelector() as selector:
        selector.register(self.process.stdout, selectors.EVENT_READ)
        line = None
        if selector.select(SECONDS if self.now is not None else 10 * SECONDS):
          line = self.process.stdout.readline()
      if line:
        message = json.loads(line)
        self.now = message.get('begins')
        if 'ended' in message:
          self.jobs.remove(message['ended'])
          yield message['ended'], message['outcome'], message['detail']
        continue
      self.process.kill()
      code, seed = self.process.wait(), self.now
      if seed is None:
        raise SystemExit(f'a worker ended with code {code} between two inputs')
      self.jobs.remove(seed)
      self.now = None
      yield seed, 'hang' if line is None else 'crash', f'exit code {code}'
      self.start()
    self.process.wait()


def main() -> int:
  """Runs the command; returns its exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--count', type=int, default=2000)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--kinds', default='')
  parser.add_argument('--verbose', action='store_true')
  parser.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  kinds = [kind for kind in arguments.kinds.split(',') if kind]
  if arguments.worker:
    work(kinds, json.loads(sys.stdin.read()), verbose=arguments.verbose)
    return 0
  if not kinds:
    from tests.mutated_inputs import KINDS

    kinds = [*KINDS, *['values'] * 13]  # there are many fields
  table: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in kinds}
  jobs = list(range(arguments.seed, arguments.seed + arguments.count))
  for seed, outcome, detail in Worker(kinds, jobs, arguments.verbose).lines():
    kind = kinds[seed % len(kinds)]
    table[kind][outcome] += 1
    if outcome not in ('accepted', 'rejected'):
      print(f'{kind}, seed {seed}: {outcome}: {detail!a}', flush=True)
  print(f'{"kind":<20}' + ''.join(f'{name:>10}' for name in OUTCOMES))
  total: collections.Counter[str] = sum(table.values(), collections.Counter())
  for kind, counts in (*table.items(), ('all', total)):
    print(f'{kind:<20}' + ''.join(f'{counts[name]:>10}' for name in OUTCOMES))
  return sum(any(counts[name] for name in OUTCOMES[2:]) for counts in table.values())


if __name__ == '__main__':
  sys.exit(main())
