"""Times the joint training step of the default network beside the same network in PyTorch.

  pip install torch          # the peer; its CPU build is enough
  python benchmarks/training.py [--rounds=9] [--steps=4]

The network is a ResNet-20 with conv heads after its first two groups; batch 128, 32x32x3, float32.
Both sides gather their images by ids, normalise them, run forward in training mode, sum the three
cross-entropies, run backward, and update by SGD with momentum and weight decay on kernels. PyTorch
runs eagerly (without torch.compile), in the layout that is faster for it. Both use all cores of the
process, and neither augments. They take turns within one process. The result is the ratio within a
turn: the speed of the machine drifts, the ratio does not.
"""

import argparse
from collections.abc import Callable
import json
import os
import pathlib
import statistics
import time

import jax
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from mecl_jax import compiler, config
from mecl_jax.commands.resolve import resolve
from mecl_jax.data import Dataset, Split
from mecl_jax.data.dataset import position_ids
from mecl_jax.training.batches import make_curriculum
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.phase import PhaseSteps
from mecl_jax.training.run import set_up_run
from mecl_jax.training.sources import resident

IMAGES = np.random.default_rng(0).integers(0, 256, (2048, 32, 32, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, 2048).astype(np.int32)
CLASSES = 10


def batch_ids(batch_size: int) -> Callable[[], np.ndarray]:
  """Returns a function that draws the ids of a batch."""
  rng = np.random.default_rng(2)
  return lambda: rng.integers(0, len(IMAGES), batch_size).astype(np.int32)


def random_dataset() -> Dataset:
  """Returns a data set of noise, whose splits are the same images."""
  split = Split(IMAGES, LABELS, position_ids('train', len(IMAGES)))
  names = tuple(map(str, range(CLASSES)))
  return Dataset('noise', names, split, split, split)


def jax_step(c: ConfigDict) -> Callable[[], float]:
  """Returns a function that takes a joint step, as in a run, and returns the summed loss."""
  c.strategy, c.curriculum.order = 'joint', 'none'
  c.augment.crop, c.augment.flip, c.augment.cutout = 0, False, 0
  c.phases.joint.duration, c.phases.joint.schedule = '10000 steps', 'constant'
  c.phases.joint.warmup = '0 steps'
  dataset, quiet = random_dataset(), Console(quiet=True)
  run = set_up_run(resolve(c), pathlib.Path('unused'), quiet, Interruption(), dataset)
  (plan,) = run.plans
  source = resident(dataset.train, 'device', run.mesh)
  steps = PhaseSteps(run, plan, *make_curriculum(run, plan, None), source).take()
  return lambda: float(next(steps)[1].loss[0])


def seconds(step: Callable[[], float], steps: int) -> float:
  """Returns the mean time of a step."""
  start = time.perf_counter()
  for _ in range(steps):
    step()
  return (time.perf_counter() - start) / steps


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--rounds', type=int, default=9)
  parser.add_argument('--steps', type=int, default=4, help='steps of each side in a round')
  options = parser.parse_args()
  # Imported here, so that the JAX side runs without PyTorch.
  import torch
  from torch_peer import torch_step

  c, cores = config.default(), len(os.sched_getaffinity(0))
  torch.set_num_threads(cores)
  compiler.use_cache()
  ours, theirs = jax_step(c), torch_step(IMAGES, LABELS, CLASSES, batch_ids(c.batch_size))
  for warm_up in (ours, theirs) * 2:
    warm_up()
  times = []
  for turn in range(options.rounds):
    order = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
    spent = {step: seconds(step, options.steps) for step in order}
    times.append((spent[ours], spent[theirs]))
  ratios = sorted(b / a for a, b in times)
  report = {
    'cores': cores,
    'jax': jax.__version__,
    'torch': torch.__version__,
    'jax_images_per_second': c.batch_size / statistics.median(a for a, _ in times),
    'torch_images_per_second': c.batch_size / statistics.median(b for _, b in times),
    'ratio_min_median_max': [ratios[0], statistics.median(ratios), ratios[-1]],
  }
  print(json.dumps(report, indent=2))


if __name__ == '__main__':
  main()
