"""ResNets for small images, and ResNet-18."""

from torch import nn
import torch.nn.functional as F

from benchmarks.peers.common import ConvNorm, conv


class SmallBlock(nn.Module):
  """A residual block whose shortcut has no parameters."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
    self.conv2, self.norm2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
    self.stride, self.new_channels = stride, outputs - inputs

  def forward(self, x):
    y = F.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    shortcut = x[:, :, :: self.stride, :: self.stride]
    return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels)))


class Block(nn.Module):
  """A residual block; its shortcut is a 1x1 convolution where the shape changes."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
    self.conv2, self.norm2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
    same = stride == 1 and inputs == outputs
    self.shortcut = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, relu=False)

  def forward(self, x):
    y = F.relu(self.norm1(self.conv1(x)))
    return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def small_resnet(depth: int, width: int) -> dict[str, nn.Module]:
  """Makes the stages of a CIFAR ResNet with 6n + 2 layers."""
  blocks = (depth - 2) // 6
  return _stages(SmallBlock, [(width * 2**k, blocks) for k in range(3)], width)


def resnet18(width: int) -> dict[str, nn.Module]:
  """Makes the stages of a ResNet-18 with a stem for small images."""
  return _stages(Block, [(width * 2**k, 2) for k in range(4)], width)


def _stages(block, groups: list[tuple[int, int]], width: int) -> dict[str, nn.Module]:
  stages: dict[str, nn.Module] = {'stem': ConvNorm(3, width, 3)}
  inputs = width
  for group, (channels, blocks) in enumerate(groups, 1):
    for number in range(1, blocks + 1):
      stride = 2 if group > 1 and number == 1 else 1
      stages[f'stage{group}_block{number}'] = block(inputs, channels, stride)
      inputs = channels
  return stages
