"""ResNets for small images.

References:
  He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385.
"""

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone, add_groups
from mecl_jax.models.layers import BatchNorm, ConvNorm, conv


class Block(nnx.Module):
  """The basic residual block: two 3x3 convolutions and a shortcut without parameters.

  Where the block reduces the size and adds channels, the shortcut takes every second pixel and
  sets the new channels to 0 ("option A" of the paper).
  """

  def __init__(
    self, in_channels: int, channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.conv1 = conv(in_channels, channels, 3, stride=stride, dtype=dtype, rngs=rngs)
    self.norm1 = BatchNorm(channels, dtype=dtype)
    self.conv2 = conv(channels, channels, 3, dtype=dtype, rngs=rngs)
    self.norm2 = BatchNorm(channels, dtype=dtype)
    self.stride = stride
    self.new_channels = channels - in_channels

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    if self.stride > 1:
      x = lax.slice(x, (0, 0, 0, 0), x.shape, (1, self.stride, self.stride, 1))
    if self.new_channels:
      x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.new_channels)))
    return nnx.relu(y + x)


class ResNet(Backbone):
  """A CIFAR ResNet with 6n + 2 layers, without its classifier.

  It has three groups of n blocks with `width`, 2 * `width` and 4 * `width` channels. The second and
  third group halve height and width. The stages are `stem`, `stage1_block1`, .., `stage3_block<n>`.

  Args:
    in_channels: channels of the images.
    depth: 6n + 2; the classifier counts as one layer.
    width: channels of the first group; 16 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(self, in_channels: int, *, depth: int, width: int, dtype: DTypeLike, rngs: nnx.Rngs):
    stages: dict[str, nnx.Module] = {
      'stem': ConvNorm(in_channels, width, 3, dtype=dtype, rngs=rngs)
    }
    blocks = (depth - 2) // 6
    groups = (width, blocks, 1), (2 * width, blocks, 2), (4 * width, blocks, 2)
    add_groups(stages, width, groups, Block, dtype=dtype, rngs=rngs)
    super().__init__(stages)
