"""Wide ResNets for small images (Zagoruyko & Komodakis, BMVC 2016, arXiv 1605.07146)."""

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import NormReLU, conv, conv3x3


class Block(nnx.Module):
  """The pre-activation block: twice batch norm, ReLU and 3x3 convolution, beside a shortcut.

  Where the channels grow, the shortcut is a 1x1 convolution of the first activation; elsewhere it
  is the input itself. Without dropout, which the paper has in some of its networks only.
  """

  def __init__(
    self, in_channels: int, channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.norm1 = NormReLU(in_channels, dtype=dtype)
    self.conv1 = conv3x3(in_channels, channels, stride=stride, dtype=dtype, rngs=rngs)
    self.norm2 = NormReLU(channels, dtype=dtype)
    self.conv2 = conv3x3(channels, channels, dtype=dtype, rngs=rngs)
    self.projects = stride > 1 or channels != in_channels
    if self.projects:
      self.shortcut = conv(in_channels, channels, 1, stride=stride, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.norm1(x)
    shortcut = self.shortcut(y) if self.projects else x
    return shortcut + self.conv2(self.norm2(self.conv1(y)))


class WideResNet(Backbone):
  """A Wide ResNet of 6n + 4 layers, without its classifier.

  After a convolution to `width` channels, three groups of n blocks with `factor`, 2 and 4 times
  `factor` as many; the second and third halve height and width. The stages are `stem`,
  `stage1_block1`, .., `stage3_block<n>` and `norm`, the last norm and ReLU.

  Args:
    in_channels: of the images.
    depth: 6n + 4, all convolutions: the stem's, 2n in a group, three in shortcuts.
    factor: the widening factor k.
    width: channels of the stem; 16 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    depth: int,
    factor: int,
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    stages: dict[str, nnx.Module] = {'stem': conv3x3(in_channels, width, dtype=dtype, rngs=rngs)}
    channels = width
    for group in (1, 2, 3):
      for block in range(1, (depth - 4) // 6 + 1):
        out_channels = width * factor * 2 ** (group - 1)
        stride = 2 if group > 1 and block == 1 else 1
        stages[f'stage{group}_block{block}'] = Block(
          channels, out_channels, stride=stride, dtype=dtype, rngs=rngs
        )
        channels = out_channels
    stages['norm'] = NormReLU(channels, dtype=dtype)
    super().__init__(stages)
