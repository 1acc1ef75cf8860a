"""Multi-scale dense networks for small images."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.peers.common import ConvNorm

SCALES, GROWTH = 3, 6


class Stem(nn.Module):
  """A chain of convolutions, one for every scale."""

  def __init__(self, channels: int):
    super().__init__()
    widths = [3, *(channels * 2**scale for scale in range(SCALES))]
    self.scales = nn.ModuleList(
      ConvNorm(widths[k], widths[k + 1], 3, 2 if k else 1) for k in range(SCALES)
    )

  def forward(self, x):
    maps = []
    for scale in self.scales:
      x = scale(x)
      maps.append(x)
    return tuple(maps)


def bottleneck(inputs: int, outputs: int, factor: int, stride: int = 1) -> nn.Sequential:
  """Makes a 1x1 and a 3x3 convolution."""
  inner = min(inputs, factor * outputs)
  return nn.Sequential(ConvNorm(inputs, inner, 1), ConvNorm(inner, outputs, 3, stride))


class DenseScale(nn.Module):
  """One scale of a layer; new channels are appended to those of the input."""

  def __init__(self, channels: int, growth: int, scale: int, sees_finer: bool):
    super().__init__()
    factor = 2**scale
    new = growth * factor // (2 if sees_finer else 1)
    self.sees_finer = sees_finer
    if sees_finer:
      self.down = bottleneck(channels * factor // 2, new, factor // 2, 2)
    self.same = bottleneck(channels * factor, new, factor)

  def forward(self, x, finer):
    down = [self.down(finer)] if self.sees_finer else []
    return torch.cat([x, *down, self.same(x)], 1)


class Layer(nn.Module):
  """A dense layer over the scales that are left; it may drop the finest one."""

  def __init__(self, channels: int, growth: int, taken: int, left: int):
    super().__init__()
    # The coarsest `taken` scales are the input, and the coarsest `left` ones the output.
    self.dropped = taken - left
    first = SCALES - left
    self.scales = nn.ModuleList(
      DenseScale(channels, growth, s, sees_finer=s > SCALES - taken) for s in range(first, SCALES)
    )

  def forward(self, maps):
    finer = [maps[self.dropped - 1] if self.dropped else None, *maps[self.dropped :]]
    pairs = zip(self.scales, maps[self.dropped :], finer, strict=False)
    return tuple(scale(x, fine) for scale, x, fine in pairs)


class Transition(nn.Module):
  """A 1x1 convolution for every scale, which halves the channels."""

  def __init__(self, inputs: int, outputs: int, left: int):
    super().__init__()
    self.scales = nn.ModuleList(
      ConvNorm(inputs * 2**s, outputs * 2**s, 1) for s in range(SCALES - left, SCALES)
    )

  def forward(self, maps):
    return tuple(scale(x) for scale, x in zip(self.scales, maps, strict=True))


def msdnet(blocks: Sequence[int], width: int) -> dict[str, nn.Module]:
  """Makes the stages of a network with `blocks` layers in each group."""
  growth = max(1, round(GROWTH * width / 16))
  stages: dict[str, nn.Module] = {'stem': Stem(width)}
  channels, layer, taken = width, 0, SCALES
  part = -(-sum(blocks) // SCALES)  # layers until the finest scale is dropped
  for group, size in enumerate(blocks, 1):
    for block in range(1, size + 1):
      left = SCALES - layer // part
      stages[f'stage{group}_block{block}'] = Layer(channels, growth, taken, left)
      channels, layer = channels + growth, layer + 1
      if left != taken:
        name = f'stage{group}_transition{SCALES - left}'
        stages[name] = Transition(channels, channels // 2, left)
        channels //= 2
      taken = left
  return stages
