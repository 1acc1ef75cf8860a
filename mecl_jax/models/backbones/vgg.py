"""VGG with batch norm for small images (Simonyan & Zisserman, ICLR 2015, arXiv 1409.1556)."""

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import ConvNorm

# depth: convolutions in each of the five groups
GROUPS = {
  11: (1, 1, 2, 2, 2),
  13: (2, 2, 2, 2, 2),
  16: (2, 2, 3, 3, 3),
  19: (2, 2, 4, 4, 4),
}
FACTORS = (1, 2, 4, 8, 8)  # channels of the groups, in multiples of the first's


class PooledConv(nnx.Module):
  """2x2 max pooling, and then convolution, batch norm, ReLU; [B, H, W, in] -> [B, H/2, W/2, out].

  Pooling is at the head of a group and not at the end of the one before it, so that an exit after
  a group has all of its pixels.
  """

  def __init__(self, in_channels: int, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.block = ConvNorm(in_channels, channels, 3, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.block(nnx.max_pool(x, (2, 2), (2, 2)))


class VGG(Backbone):
  """The convolutions of a VGG, each with batch norm and ReLU.

  Five groups with `width`, 2, 4, 8 and 8 times `width` channels and 2x2 max pooling between them.
  As is usual at 32x32, one dense layer takes the place of the three of the paper; its average over
  the last feature map takes the place of the fifth pooling. The stages are `stage1_block1`, ..,
  `stage5_block<n>`, one for each convolution.

  Args:
    in_channels: of the images.
    depth: 11, 13, 16 or 19, counting the paper's dense layers.
    width: channels of the first group; 64 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
  """

  def __init__(self, in_channels: int, *, depth: int, width: int, dtype: DTypeLike, rngs: nnx.Rngs):
    stages: dict[str, nnx.Module] = {}
    channels = in_channels
    for group, (blocks, factor) in enumerate(zip(GROUPS[depth], FACTORS, strict=True), 1):
      for block in range(1, blocks + 1):
        name, out_channels = f'stage{group}_block{block}', width * factor
        if group > 1 and block == 1:
          stages[name] = PooledConv(channels, out_channels, dtype=dtype, rngs=rngs)
        else:
          stages[name] = ConvNorm(channels, out_channels, 3, dtype=dtype, rngs=rngs)
        channels = out_channels
    super().__init__(stages)
