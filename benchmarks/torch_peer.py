"""The default network and its joint training step in PyTorch, the peer in `training.py`."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F


class Block(nn.Module):
  """A residual block whose shortcut has no parameters."""

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
  """A conv head."""

  def __init__(self, inputs: int, classes: int, width: int = 64):
    super().__init__()
    self.conv = nn.Conv2d(inputs, width, 3, 2, 1, bias=False)
    self.norm, self.linear = nn.BatchNorm2d(width), nn.Linear(width, classes)

  def forward(self, x):
    return self.linear(F.relu(self.norm(self.conv(x))).mean((2, 3)))


class ResNet20(nn.Module):
  """A ResNet-20 with two early exits, which normalises the pixels."""

  def __init__(self, classes: int):
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
    self.heads = nn.ModuleList([Head(16, classes), Head(32, classes)])
    self.final = nn.Linear(64, classes)

  def forward(self, images):
    first = self.stages[0](self.stem((images.float() / 255 - 0.5) / 0.25))
    second = self.stages[1](first)
    last = self.stages[2](second).mean((2, 3))
    return self.heads[0](first), self.heads[1](second), self.final(last)


def torch_step(
  images: np.ndarray, labels: np.ndarray, classes: int, draw: Callable[[], np.ndarray]
) -> Callable[[], float]:
  """Returns a function that takes a step and returns the summed loss; layout: channels last.

  Args:
    images: uint8 [N, 32, 32, 3].
    labels: int [N].
    classes: number of classes.
    draw: returns the ids of the next batch.
  """
  torch.manual_seed(0)
  network = ResNet20(classes).to(memory_format=torch.channels_last).train()
  kernels = [p for p in network.parameters() if p.ndim > 1]
  others = [p for p in network.parameters() if p.ndim == 1]
  groups = [{'params': kernels, 'weight_decay': 5e-4}, {'params': others, 'weight_decay': 0.0}]
  optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
  pixels, truth = torch.from_numpy(images), torch.from_numpy(labels).long()

  def run() -> float:
    ids = torch.from_numpy(draw()).long()
    outputs = network(pixels[ids].permute(0, 3, 1, 2))  # channels last already
    loss = sum(F.cross_entropy(logits, truth[ids]) for logits in outputs)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()

  return run
