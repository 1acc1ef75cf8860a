"""Times the joint training step of the default network on a CPU, beside PyTorch.

  pip install torch          # the peer; its CPU build is enough
  python -m benchmarks.training [--rounds=9] [--seconds=2] [--also=PYTHON] [--results=FILE]

The network is a ResNet-20 with conv heads after its first two groups; batch 128, 32x32x3, float32.
Both sides gather their images by ids, normalise them, run forward in training mode, sum the three
cross-entropies, run backward, and update by SGD with momentum and weight decay on kernels. PyTorch
runs eagerly, in the layout channels last (--compile tries torch.compile too, and keeps the faster
one). Both use all cores, and neither augments. Each side has a process of its own, and they take
turns. --also=PYTHON, which may be repeated, adds the same side with the JAX of another interpreter.
The results are the ratios within a turn, since the speed of a machine drifts;
--results=benchmarks/results/training.cpu.json also writes them for the README.
"""

import argparse
from collections.abc import Callable
import contextlib
import functools
import json
import os
import sys
from typing import Any

from benchmarks import facts
from benchmarks.parts import JAX, TORCH
from benchmarks.turns import Worker, WorkerError, ratio, spread, workers_in_turns
from mecl_jax.files import write_json

FORMAT, VERSION = 'mecl_jax training benchmark', 1
NETWORK, BATCH = 'resnet20', 128
NO_AUGMENTATION = {'augment.crop': 0, 'augment.flip': False}


def prepare_jax(worker: Worker, **sizes: Any) -> str:
  """Compiles the step of a JAX side; returns the name of the side."""
  versions = worker.call(f'{JAX}:facts')
  worker.call(f'{JAX}:prepare', key='cpu', name=NETWORK, changes=NO_AUGMENTATION, **sizes)
  return f'jax {versions["jax"]}, python {versions["python"]}'


def prepare_torch(worker: Worker, forms: list[str], **sizes: Any) -> str:
  """Makes the step of PyTorch; returns the name of the side."""
  version = worker.call(f'{TORCH}:facts')['torch']
  worker.call(f'{TORCH}:threads', count=len(os.sched_getaffinity(0)))
  worker.call(
    f'{TORCH}:prepare', key='cpu', name=NETWORK, images=2048, augment=False, forms=forms, **sizes
  )
  made = worker.call(f'{TORCH}:choose', key='cpu', seconds=0.5)
  return f'torch {version}, {made["form"]}'


def measure(worker: Worker, side: str, seconds: float) -> float:
  """Returns images per second of a side."""
  return worker.call(f'{side}:measure', key='cpu', seconds=seconds)


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter, prog='training'
  )
  add = parser.add_argument
  add('--rounds', type=int, default=9)
  add('--seconds', type=float, default=2, help='of one measurement of one side')
  add('--also', action='append', default=[], help='another interpreter, with another JAX')
  add('--torch-python', default=sys.executable, help='interpreter that has PyTorch')
  add('--results', default='', help='file to write the results to')
  add('--compile', action='store_true', help='try torch.compile too')
  add('--small', action='store_true', help='a tiny network, to try the command')
  flags = parser.parse_args(argv)
  sizes = {'small': flags.small, 'batch_size': BATCH, 'dtype': 'float32'}
  calls: dict[str, tuple[Worker, Callable[[Worker], float]]] = {}
  with contextlib.ExitStack() as stack:

    def side(module: str, python: str) -> tuple[Worker, Callable[[Worker], float]]:
      worker = stack.enter_context(Worker(python))
      return worker, functools.partial(measure, side=module, seconds=flags.seconds)

    try:
      for python in dict.fromkeys([sys.executable, *flags.also]):
        found = side(JAX, python)
        if not calls:
          found_facts = facts.of_this_process() | found[0].call(f'{JAX}:facts')
        calls[prepare_jax(found[0], **sizes)] = found
    except (WorkerError, OSError) as error:
      print(f'error: {python}: {error}', file=sys.stderr)
      return 1
    base = next(iter(calls))
    try:
      peer = side(TORCH, flags.torch_python)
      base = prepare_torch(peer[0], ['eager', *(['compiled'] * flags.compile)], **sizes)
      calls[base] = peer
    except (WorkerError, OSError) as error:
      print(f'PyTorch is left out: {error}', file=sys.stderr)
    speeds, waiting = workers_in_turns(calls, flags.rounds)
  report = {
    'images_per_second': {key: spread(values) for key, values in speeds.items()},
    'ratio_to': base,
    'ratio': {name: ratio(v, speeds[base]) for name, v in speeds.items() if name != base},
    'waiting_used_of_a_core': waiting,
  }
  if flags.results:
    header = {'format': FORMAT, 'version': VERSION, 'facts': found_facts}
    write_json(flags.results, header | {'result': report})
  print(json.dumps(report, indent=2))
  return 0


if __name__ == '__main__':
  sys.exit(main())
