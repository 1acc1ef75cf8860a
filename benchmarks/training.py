"""Times the joint training step of the default network beside the same network in PyTorch.

  pip install torch          # the peer; its CPU build is enough
  python benchmarks/training.py [--rounds=9] [--steps=4]

ResNet-20 with conv heads after its first two groups, batch 128, 32x32x3, float32. Both sides look
their images up by ids, normalise them, run forward in training mode, sum the three cross-entropies,
run backward and update by SGD with momentum and weight decay on kernels; PyTorch runs eagerly (no
torch.compile), in the layout that is faster for it. Both use all cores of the process and neither
augments. They take turns within one process, and what counts is the ratio within a turn: the
machine's speed drifts, the ratio does not.
"""

import argparse
from collections.abc import Callable
import json
import os
import statistics
import time

import jax
from ml_collections import ConfigDict
import numpy as np

from mecl_jax import compiler, config, models
from mecl_jax.training import devices
from mecl_jax.training.optimizers import make_optimizer
from mecl_jax.training.run import build_model
from mecl_jax.training.step import Batches, Objective, make_step, split
from mecl_jax.training.strategies import make_phases

IMAGES = np.random.default_rng(0).integers(0, 256, (2048, 32, 32, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, 2048).astype(np.int32)
CLASSES = 10


def batch_ids(batch_size: int) -> Callable[[], np.ndarray]:
  rng = np.random.default_rng(2)
  return lambda: rng.integers(0, len(IMAGES), batch_size).astype(np.int32)


def jax_step(c: ConfigDict) -> Callable[[], float]:
  """The joint step of a configuration's network, as a function that returns the summed loss."""
  mean, std, mesh = np.full(3, 0.5), np.full(3, 0.25), devices.make_mesh(c.batch_size)
  model = build_model(c, IMAGES.shape[1:], CLASSES, mean, std, mesh)
  (phase,) = make_phases('joint', model.exit_names, model.segments)
  models.set_trainable(model, phase.trainable)
  optimizer = make_optimizer(c.phases.joint)
  graphdef, moving, frozen = split(model, phase.trainable, optimizer)
  step = make_step(graphdef, optimizer, Objective(phase.exits))
  source = jax.device_put({'images': IMAGES, 'labels': LABELS})
  key, draw = jax.random.key(0), batch_ids(c.batch_size)
  weights = np.ones((1, c.batch_size, len(phase.exits)), np.float32)
  rate, number = np.full(1, 0.1, np.float32), np.zeros(1, np.uint32)

  def run() -> float:
    nonlocal moving
    sent = jax.device_put(Batches(draw()[None], weights, rate, number))
    moving, metrics = step(moving, frozen, source, key, sent)
    return float(metrics.loss[0])

  return run


def seconds(step: Callable[[], float], steps: int) -> float:
  """Mean time of a step."""
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
  # Here, so that our side alone needs no PyTorch.
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
