"""VGG with batch norm for small images.

References:
  Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
  2015, arXiv 1409.1556.
"""

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone, add_groups
from mecl_jax.models.layers import ConvNorm

# depth: convolutions in each of the five groups
GROUPS = {
  11: (1, 1, 2, 2, 2),
  13: (2, 2, 2, 2, 2),
  16: (2, 2, 3, 3, 3),
  19: (2, 2, 4, 4, 4),
}
FACTORS = (1, 2, 4, 8, 8)  # channels of the groups, in multiples of the first group's


class PooledConv(nnx.Module):
  """2x2 max pooling, then convolution, batch norm, ReLU; [B, H, W, in] -> [B, H/2, W/2, out].

  Pooling is the beginning of a group, not the end of the group before it. An exit at the end of a
  group therefore gets the feature map before pooling.
  """

  def __init__(self, in_channels: int, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.block = ConvNorm(in_channels, channels, 3, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.block(nnx.max_pool(x, window_shape=(2, 2), strides=(2, 2)))


def make_block(
  in_channels: int, channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Module:
  """Makes a convolution with batch norm and ReLU, after 2x2 max pooling if the stride is 2."""
  if stride == 2:
    return PooledConv(in_channels, channels, dtype=dtype, rngs=rngs)
  return ConvNorm(in_channels, channels, 3, dtype=dtype, rngs=rngs)


class VGG(Backbone):
  """The convolutions of a VGG, each with batch norm and ReLU.

  It has five groups with 1, 2, 4, 8 and 8 times `width` channels, and 2x2 max pooling between them.
  As is usual for 32x32 images, one dense layer replaces the three of the paper, and an average over
  the last feature map replaces the fifth pooling. The stages are `stage1_block1`, ..,
  `stage5_block<n>`, one for each convolution.

  Args:
    in_channels: channels of the images.
    depth: 11, 13, 16 or 19; the three dense layers of the paper count.
    width: channels of the first group; 64 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(self, in_channels: int, *, depth: int, width: int, dtype: DTypeLike, rngs: nnx.Rngs):
    stages: dict[str, nnx.Module] = {}
    groups = [
      (factor * width, blocks, 1 if group == 0 else 2)
      for group, (blocks, factor) in enumerate(zip(GROUPS[depth], FACTORS, strict=True))
    ]
    add_groups(stages, in_channels, groups, make_block, dtype=dtype, rngs=rngs)
    super().__init__(stages)
