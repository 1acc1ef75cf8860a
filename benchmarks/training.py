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
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from mecl_jax import compiler, config, models
from mecl_jax.training.optimizers import make_optimizer
from mecl_jax.training.step import Batches, Objective, make_step, split
from mecl_jax.training.strategies import make_phases

IMAGES = np.random.default_rng(0).integers(0, 256, (2048, 32, 32, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, 2048).astype(np.int32)
CLASSES = 10


def batch_ids(batch_size: int) -> Callable[[], np.ndarray]:
  rng = np.random.default_rng(2)
  return lambda: rng.integers(0, len(IMAGES), batch_size).astype(np.int32)


def jax_step() -> Callable[[], float]:
  """One step of the project's own training, as a function without arguments."""
  c = config.default()
  model = models.build(
    **c.model,
    num_classes=CLASSES,
    image_shape=IMAGES.shape[1:],
    mean=np.full(3, 0.5, np.float32),
    std=np.full(3, 0.25, np.float32),
    seed=0,
  )
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


class Block(nn.Module):
  """The peer's residual block: a shortcut without parameters."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    self.first_norm = nn.BatchNorm2d(outputs)
    self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    self.second_norm = nn.BatchNorm2d(outputs)
    self.stride, self.new_channels = stride, outputs - inputs

  def forward(self, x):
    y = F.relu(self.first_norm(self.first(x)))
    y = self.second_norm(self.second(y))
    shortcut = x[:, :, :: self.stride, :: self.stride]
    return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels)))


class Head(nn.Module):
  """The peer's conv head."""

  def __init__(self, inputs: int, width: int = 64):
    super().__init__()
    self.conv = nn.Conv2d(inputs, width, 3, 2, 1, bias=False)
    self.norm, self.linear = nn.BatchNorm2d(width), nn.Linear(width, CLASSES)

  def forward(self, x):
    return self.linear(F.relu(self.norm(self.conv(x))).mean((2, 3)))


class Peer(nn.Module):
  """ResNet-20 with two early exits."""

  def __init__(self):
    super().__init__()
    self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    widths = (16, 16, 32, 64)
    self.stages = nn.ModuleList(
      nn.Sequential(
        Block(widths[k], widths[k + 1], 2 if k else 1),
        *(Block(widths[k + 1], widths[k + 1], 1) for _ in range(2)),
      )
      for k in range(3)
    )
    self.heads = nn.ModuleList([Head(16), Head(32)])
    self.final = nn.Linear(64, CLASSES)

  def forward(self, images):
    first = self.stages[0](self.stem((images.float() / 255 - 0.5) / 0.25))
    second = self.stages[1](first)
    last = self.stages[2](second).mean((2, 3))
    return self.heads[0](first), self.heads[1](second), self.final(last)


def torch_step(batch_size: int = 128) -> Callable[[], float]:
  """The peer's step; channels last, the faster layout for it."""
  torch.manual_seed(0)
  network = Peer().to(memory_format=torch.channels_last).train()
  kernels = [p for p in network.parameters() if p.ndim > 1]
  others = [p for p in network.parameters() if p.ndim == 1]
  groups = [{'params': kernels, 'weight_decay': 5e-4}, {'params': others, 'weight_decay': 0.0}]
  optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
  images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS).long()
  draw = batch_ids(batch_size)

  def run() -> float:
    ids = torch.from_numpy(draw()).long()
    outputs = network(images[ids].permute(0, 3, 1, 2))  # channels last already
    loss = sum(F.cross_entropy(logits, labels[ids]) for logits in outputs)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()

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
  cores = len(os.sched_getaffinity(0))
  torch.set_num_threads(cores)
  compiler.use_cache()
  ours, theirs = jax_step(), torch_step()
  for warm_up in (ours, theirs) * 2:
    warm_up()
  times = []
  for turn in range(options.rounds):
    order = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
    spent = {step: seconds(step, options.steps) for step in order}
    times.append((spent[ours], spent[theirs]))
  batch_size = config.default().batch_size
  ratios = sorted(b / a for a, b in times)
  report = {
    'cores': cores,
    'jax': jax.__version__,
    'torch': torch.__version__,
    'jax_images_per_second': batch_size / statistics.median(a for a, _ in times),
    'torch_images_per_second': batch_size / statistics.median(b for _, b in times),
    'ratio_min_median_max': [ratios[0], statistics.median(ratios), ratios[-1]],
  }
  print(json.dumps(report, indent=2))


if __name__ == '__main__':
  main()
