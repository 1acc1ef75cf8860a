"""Measures the package on one accelerator, beside PyTorch, in one command limited to 8 minutes.

  python -m benchmarks.accelerator [--minutes=8] [--parts=training,curriculum] [--results=FILE]
                                   [--data_dir=DIR | --arrays=FILE.npz] [--small]

Parts:
  training/NETWORK  images/s of multi-exit training, of both sides in turns
  curriculum        what curricula cost, in turns within one process
  fast              seconds and accuracy of --fast-config; needs CIFAR-10
  early_exit        latency, throughput, and the time that early exit saves
  scoring           predictions of the final exit, and features of a frozen backbone
  recipe            seconds and accuracy of --recipe-config; needs CIFAR-10

The networks follow by size: ResNet-20 first, ResNet-18 and WRN-16-4 after `fast`, the others after
`scoring`. `recipe` takes minutes, and needs a call of its own:

  python -m benchmarks.accelerator --parts=recipe --data_dir=DIR

Each side has a process of its own; only one of them works at a time. The results file is written
after every part, and what the sides print goes to accelerator.log
beside --results, or in runs/. Parts that are already there are kept if they were measured on the
same device, with the same versions and the same code; --again measures them once more. A part that
does not fit into the time is left out and named. --small has tiny networks, to try the command on a
CPU; its figures mean nothing.
"""

import argparse
import contextlib
import json
import pathlib
import signal
import sys
import time
from typing import Any

from benchmarks import accelerator_table, facts
from benchmarks.parts import FULL, JAX, PARTS, SMALL, TORCH, Bench, chosen
from benchmarks.turns import ROOT, WorkerError
from mecl_jax.config import find_config
from mecl_jax.errors import UserError
from mecl_jax.files import write_json

FORMAT, VERSION = 'mecl_jax accelerator benchmark', 1
# Facts that must be equal for a result to be kept.
IDENTITY = ('device', 'python', 'jax', 'jaxlib', 'flax', 'torch', 'sources', 'small')


def parse(argv: list[str] | None) -> argparse.Namespace:
  """Parses the flags."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='accelerator'
  )
  add = parser.add_argument
  add('--minutes', type=float, default=8, help='time for all parts together')
  add('--parts', default='', help='names of parts, or of their beginnings; default: all')
  add('--results', type=pathlib.Path, help='default: benchmarks/results/accelerator.DEVICE.json')
  add('--small', action='store_true', help='tiny networks, to try the command on a CPU')
  add('--again', action='store_true', help='measure parts again that are already there')
  add('--data_dir', default='', help='folder with CIFAR-10 as TFDS prepares it')
  add('--arrays', default='', help='.npz file with CIFAR-10, as of the field data.arrays')
  add('--fast-config', default='configs/cifar10_fast.py')
  add('--recipe-config', default='configs/cifar10.py')
  add('--seeds', type=int, default=5, help='seeds of the part fast')
  add('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
  add('--no-torch', action='store_true', help='leave PyTorch out')
  add('--commit', default='', help='of the code, if this is a copy without its repository')
  flags = parser.parse_args(argv)
  try:
    flags.chosen = chosen(flags.parts)
  except ValueError as error:
    parser.error(str(error))
  return flags


def main(argv: list[str] | None = None) -> int:
  flags, began = parse(argv), time.monotonic()
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the workers are ended
  folder = flags.results.parent if flags.results else ROOT / 'runs'
  folder.mkdir(parents=True, exist_ok=True)
  log_path = folder / 'accelerator.log'
  with log_path.open('w') as log, contextlib.closing(_bench(flags, log)) as bench:
    try:
      return _run(flags, bench, began)
    except KeyboardInterrupt:
      print('\ninterrupted; run the same command again to resume', file=sys.stderr)
      return 130


def _bench(flags: argparse.Namespace, log: Any) -> Bench:
  changes = {'data.data_dir': flags.data_dir, 'data.arrays': flags.arrays}
  return Bench(
    SMALL if flags.small else FULL,
    flags.torch_python,
    log,
    changes={name: value for name, value in changes.items() if value},
    fast_config=flags.fast_config,
    recipe_config=flags.recipe_config,
    seeds=flags.seeds,
  )


def _run(flags: argparse.Namespace, bench: Bench, began: float) -> int:
  end = began + 60 * flags.minutes
  try:
    of_now = _facts(flags, bench)
  except WorkerError as error:
    print(f'error: JAX cannot be used: {error}; {bench.log.name} has more', file=sys.stderr)
    return 1
  if of_now['platform'] == 'cpu' and not flags.small:
    print('error: JAX found no accelerator here; --small tries the command on a CPU')
    return 2
  path = flags.results or _default_path(flags, of_now['device'])
  results = _read(path)
  left_out: dict[str, str] = {}
  for name in flags.chosen:
    part, found = PARTS[name], results['parts'].get(name)
    if found and not flags.again and _same(found['facts'], of_now):
      print(f'{name}: kept from {path}')
      continue
    left, least = end - time.monotonic(), 1 if flags.small else part.least
    reason = _missing(name, flags) or (f'{left:.0f} s are left' if left < least else '')
    if not reason:
      limit = left if flags.small else min(left, part.most)
      print(f'{name}: up to {limit:.0f} s', flush=True)
      start = time.monotonic()
      try:
        measured = part.measure(bench, limit)
      except Exception as error:  # an error in one part must not lose the others
        kind = '' if isinstance(error, WorkerError) else f'{type(error).__name__}: '
        reason = f'{kind}{error}; {bench.log.name} has more'
        bench.close()
      else:
        spent = round(time.monotonic() - start, 1)
        results['parts'][name] = {'facts': of_now, 'spent_seconds': spent, 'result': measured}
    if reason:
      left_out[name] = reason
      print(f'{name}: left out: {reason}')
    results['left_out'] = left_out
    write_json(path, results)
  accelerator_table.show(results)
  print(f'{path}, after {time.monotonic() - began:.0f} s')
  return 1 if left_out and not results['parts'] else 0


def _facts(flags: argparse.Namespace, bench: Bench) -> dict[str, Any]:
  """Returns what is known of the machine and the software; starts both sides."""
  found = facts.of_this_process(flags.commit) | {'driver': facts.driver(), 'small': flags.small}
  found |= {'torch': None, 'command': ' '.join(sys.argv[1:])}
  found |= bench.worker(JAX).call(f'{JAX}:facts', 120)
  bench.no_torch = 'by --no-torch' if flags.no_torch else ''
  if not flags.no_torch:
    try:
      of_torch = bench.worker(TORCH).call(f'{TORCH}:facts', 120)
    except (WorkerError, OSError) as error:
      bench.no_torch = str(error)
    else:
      if found['platform'] == 'cpu' or of_torch['torch_device'] != 'cpu':
        return found | of_torch
      bench.no_torch = f'torch {of_torch["torch"]} finds no accelerator'
    bench.end(TORCH)
  print(f'PyTorch is left out: {bench.no_torch}')
  return found


def _missing(name: str, flags: argparse.Namespace) -> str:
  """Returns what a part needs and does not have; empty if it has everything."""
  if not PARTS[name].needs_data:
    return ''
  config = flags.fast_config if name == 'fast' else flags.recipe_config
  try:
    find_config(config)
  except UserError as error:
    return str(error)
  if flags.data_dir or flags.arrays:
    return ''
  return 'no images: give --data_dir or --arrays'


def _same(of_result: dict[str, Any], of_now: dict[str, Any]) -> bool:
  return all(of_result.get(name) == of_now.get(name) for name in IDENTITY)


def _default_path(flags: argparse.Namespace, device: str) -> pathlib.Path:
  if flags.small:
    return ROOT / 'runs' / 'accelerator-small.json'
  return ROOT / 'benchmarks' / 'results' / f'accelerator.{facts.slug(device)}.json'


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Returns the results in a file, or none."""
  if path.exists():
    with contextlib.suppress(ValueError):
      read = json.loads(path.read_text())
      if read.get('format') == FORMAT and read.get('version') == VERSION:
        return read
    raise SystemExit(f'error: {path} is not a file of this benchmark; choose another --results')
  return {'format': FORMAT, 'version': VERSION, 'parts': {}}


if __name__ == '__main__':
  sys.exit(main())
