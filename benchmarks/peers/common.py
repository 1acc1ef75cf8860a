"""Layers, heads and the multi-exit network in PyTorch."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
import torch.nn.functional as F

from benchmarks.networks import SIDE

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
  """Makes a convolution without bias that keeps the size at stride 1."""
  return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class ConvNorm(nn.Module):
  """Convolution, batch norm and, unless `relu` is false, ReLU."""

  def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, relu: bool = True):
    super().__init__()
    self.conv, self.norm = conv(inputs, outputs, size, stride), nn.BatchNorm2d(outputs)
    self.relu = relu

  def forward(self, x):
    y = self.norm(self.conv(x))
    return F.relu(y) if self.relu else y


class NormReLU(nn.Module):
  """Batch norm and ReLU."""

  def __init__(self, channels: int, eps: float = 1e-5):
    super().__init__()
    self.norm = nn.BatchNorm2d(channels, eps)

  def forward(self, x):
    return F.relu(self.norm(x))


class Classifier(nn.Module):
  """Some layers, global average pooling and a dense layer."""

  def __init__(self, layers: Sequence[nn.Module], channels: int, classes: int):
    super().__init__()
    self.layers, self.linear = nn.Sequential(*layers), nn.Linear(channels, classes)

  def forward(self, x):
    return self.linear(self.layers(x).mean((2, 3)))


def _separable(channels: int) -> list[nn.Module]:
  """Returns two separable convolutions; the first has stride 2, the second doubles the channels."""
  return [
    conv(channels, channels, 3, 2, groups=channels),
    ConvNorm(channels, channels, 1),
    conv(channels, channels, 3, groups=channels),
    ConvNorm(channels, 2 * channels, 1),
  ]


def head(kind: str, channels: int, side: int, width: int, classes: int) -> Classifier:
  """Makes a head for a feature map of `channels` and of `side` pixels."""
  if kind == 'linear':
    return Classifier([], channels, classes)
  if kind == 'conv':
    return Classifier([ConvNorm(channels, width, 3, 2)], width, classes)
  if kind == 'msdnet':
    layers = [ConvNorm(channels, width, 3, 2), ConvNorm(width, width, 3, 2)]
    return Classifier(layers, width, classes)
  blocks: list[nn.Module] = []
  while side > 4:
    blocks += _separable(channels)
    side, channels = -(-side // 2), 2 * channels
  return Classifier(blocks, channels, classes)


class Peer(nn.Module):
  """A multi-exit network that normalises uint8 images [B, H, W, 3].

  Args:
    stages: name -> module, first to last; a stage returns a feature map, or a tuple of them whose
      last one is for heads.
    exits: groups of stages; 'stage1' is the last stage whose name begins with 'stage1_'.
    heads: kinds of the heads of the early exits, and of the final exit.
    width: channels inside a head.
    classes: number of classes.
  """

  def __init__(
    self,
    stages: Mapping[str, nn.Module],
    exits: Sequence[str],
    heads: tuple[str, str],
    width: int,
    classes: int,
  ):
    super().__init__()
    self.stages = nn.ModuleList(stages.values())
    names = list(stages)
    self.ends = [max(k for k, n in enumerate(names) if n.startswith(f'{e}_')) for e in exits]
    self.ends.append(len(names) - 1)
    self.register_buffer('mean', torch.tensor(MEAN), persistent=False)
    self.register_buffer('std', torch.tensor(STD), persistent=False)
    self.eval()
    with torch.no_grad():
      maps = self.features(torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8))
    kinds = [heads[0]] * len(exits) + [heads[1]]
    self.heads = nn.ModuleList(
      head(kind, x.shape[1], x.shape[2], width, classes)
      for kind, x in zip(kinds, maps, strict=True)
    )
    for module in self.modules():
      if isinstance(module, nn.BatchNorm2d):
        module.num_batches_tracked = None  # only a momentum of None needs it; a kernel per layer

  def features(self, images, last: int | None = None):
    """Returns the feature maps of the exits up to number `last`; None: of all."""
    ends = self.ends if last is None else self.ends[: last + 1]
    # [B, H, W, C] seen as [B, C, H, W] is in the layout channels last.
    x = ((images.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)
    maps = []
    for number, stage in enumerate(self.stages[: ends[-1] + 1]):
      x = stage(x)
      if number in ends:
        maps.append(x[-1] if isinstance(x, tuple) else x)
    return maps

  def forward(self, images):
    return [head(x) for head, x in zip(self.heads, self.features(images), strict=True)]

  def at(self, images, number: int):
    """Returns the logits of one exit, without the heads of others."""
    return self.heads[number](self.features(images, number)[-1])
