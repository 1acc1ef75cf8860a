"""DenseNet-BC for small images."""

import torch
from torch import nn
import torch.nn.functional as F

from benchmarks.peers.common import NormReLU, conv

EPSILON = 1.001e-5  # of the batch norm in the published networks of Keras


class Block(nn.Module):
  """A bottleneck and a 3x3 convolution, whose channels are appended to the input."""

  def __init__(self, inputs: int, growth: int):
    super().__init__()
    self.norm1, self.conv1 = NormReLU(inputs, EPSILON), conv(inputs, 4 * growth, 1)
    self.norm2, self.conv2 = NormReLU(4 * growth, EPSILON), conv(4 * growth, growth, 3)

  def forward(self, x):
    y = self.conv1(self.norm1(x))
    return torch.cat([x, self.conv2(self.norm2(y))], 1)


class Transition(nn.Module):
  """Half of the channels, then 2x2 average pooling."""

  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.norm, self.conv = NormReLU(inputs, EPSILON), conv(inputs, outputs, 1)

  def forward(self, x):
    return F.avg_pool2d(self.conv(self.norm(x)), 2)


def densenet(depth: int, growth: int) -> dict[str, nn.Module]:
  """Makes the stages of a DenseNet-BC with 6n + 4 layers."""
  channels, blocks = 2 * growth, (depth - 4) // 6
  stages: dict[str, nn.Module] = {'stem': conv(3, channels, 3)}
  for group in range(1, 4):
    for number in range(1, blocks + 1):
      stages[f'stage{group}_block{number}'] = Block(channels, growth)
      channels += growth
    if group < 3:
      stages[f'transition{group}'] = Transition(channels, channels // 2)
      channels //= 2
  return stages | {'norm': NormReLU(channels, EPSILON)}
