"""Wide ResNets for small images.

References:
  Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, arXiv 1605.07146.
"""

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone, add_groups
from mecl_jax.models.layers import NormReLU, conv


class Block(nnx.Module):
  """The pre-activation block: two times batch norm, ReLU and 3x3 convolution, and a shortcut.

  Where size or channels change, the shortcut is a 1x1 convolution of the first activation;
  elsewhere it is the input. There is no dropout; the paper has it in some networks only.
  """

  def __init__(
    self, in_channels: int, channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.norm1 = NormReLU(in_channels, dtype=dtype)
    self.conv1 = conv(in_channels, channels, 3, stride=stride, dtype=dtype, rngs=rngs)
    self.norm2 = NormReLU(channels, dtype=dtype)
    self.conv2 = conv(channels, channels, 3, dtype=dtype, rngs=rngs)
    self.projects = stride > 1 or channels != in_channels
    if self.projects:
      self.shortcut = conv(in_channels, channels, 1, stride=stride, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.norm1(x)
    shortcut = self.shortcut(y) if self.projects else x
    return shortcut + self.conv2(self.norm2(self.conv1(y)))


class WideResNet(Backbone):
  """A Wide ResNet with 6n + 4 layers, without its classifier.

  A convolution to `width` channels is followed by three groups of n blocks with 1, 2 and 4 times
  `factor` * `width` channels. The second and third group halve height and width. The stages are
  `stem`, `stage1_block1`, .., `stage3_block<n>`, and `norm` with the last batch norm and ReLU.

  Args:
    in_channels: channels of the images.
    depth: 6n + 4, the number of convolutions: one in the stem, 2n per group, three in shortcuts.
    factor: the widening factor k of the paper.
    width: channels of the stem; 16 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
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
    stages: dict[str, nnx.Module] = {'stem': conv(in_channels, width, 3, dtype=dtype, rngs=rngs)}
    wide, blocks = factor * width, (depth - 4) // 6
    groups = (wide, blocks, 1), (2 * wide, blocks, 2), (4 * wide, blocks, 2)
    channels = add_groups(stages, width, groups, Block, dtype=dtype, rngs=rngs)
    stages['norm'] = NormReLU(channels, dtype=dtype)
    super().__init__(stages)
