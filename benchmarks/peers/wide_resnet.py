"""Wide ResNets."""

from torch import nn

from benchmarks.peers.common import NormReLU, conv


class Block(nn.Module):
  """The pre-activation block."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.norm1, self.conv1 = NormReLU(inputs), conv(inputs, outputs, 3, stride)
    self.norm2, self.conv2 = NormReLU(outputs), conv(outputs, outputs, 3)
    self.projects = stride > 1 or inputs != outputs
    if self.projects:
      self.shortcut = conv(inputs, outputs, 1, stride)

  def forward(self, x):
    y = self.norm1(x)
    shortcut = self.shortcut(y) if self.projects else x
    return shortcut + self.conv2(self.norm2(self.conv1(y)))


def wide_resnet(depth: int, factor: int, width: int) -> dict[str, nn.Module]:
  """Makes the stages of a Wide ResNet with 6n + 4 layers."""
  stages: dict[str, nn.Module] = {'stem': conv(3, width, 3)}
  inputs = width
  for group in range(1, 4):
    for number in range(1, (depth - 4) // 6 + 1):
      outputs = factor * width * 2 ** (group - 1)
      stride = 2 if group > 1 and number == 1 else 1
      stages[f'stage{group}_block{number}'] = Block(inputs, outputs, stride)
      inputs = outputs
  return stages | {'norm': NormReLU(inputs)}
