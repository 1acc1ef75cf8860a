"""DenseNets for small and for large images.

All are DenseNet-BC: bottlenecks before the 3x3 convolutions, and compression between the groups.

References:
  Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, arXiv 1608.06993.
"""

from collections.abc import Sequence
import functools

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.imagenet import RESNET_EPSILON, ImageNetStem, Stem
from mecl_jax.models.layers import NormReLU, conv

norm_relu = functools.partial(NormReLU, epsilon=RESNET_EPSILON['keras'])

IMAGENET_BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def cifar_blocks(depth: int) -> tuple[int, int, int]:
  """Returns the blocks in each of the three groups of a DenseNet-BC with 6n + 4 layers: n."""
  n = (depth - 4) // 6
  return n, n, n


class Block(nnx.Module):
  """One block; [B, H, W, in] -> [B, H, W, in + growth].

  Batch norm, ReLU and a 1x1 convolution to 4 * growth channels, the bottleneck; then batch norm,
  ReLU and a 3x3 convolution. Its channels are appended to those of the input.
  """

  def __init__(self, in_channels: int, growth: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.norm1 = norm_relu(in_channels, dtype=dtype)
    self.conv1 = conv(in_channels, 4 * growth, 1, dtype=dtype, rngs=rngs)
    self.norm2 = norm_relu(4 * growth, dtype=dtype)
    self.conv2 = conv(4 * growth, growth, 3, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.conv1(self.norm1(x))
    return jnp.concatenate([x, self.conv2(self.norm2(y))], axis=-1)


class Transition(nnx.Module):
  """Batch norm, ReLU, 1x1 convolution, 2x2 average pooling; [B, H, W, in] -> [B, H/2, W/2, out]."""

  def __init__(self, in_channels: int, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.norm = norm_relu(in_channels, dtype=dtype)
    self.conv = conv(in_channels, channels, 1, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return nnx.avg_pool(self.conv(self.norm(x)), window_shape=(2, 2), strides=(2, 2))


class DenseNet(Backbone):
  """A DenseNet-BC without its classifier.

  The stages are `stem` with 2 * `width` channels; groups of blocks `stage1_block1`, .., with
  `transition1`, .. between them, which halve height, width and channels; and `norm` with the last
  batch norm and ReLU. The group `stage1` ends before `transition1`.

  Args:
    in_channels: channels of the images.
    blocks: number of blocks in each group, see `cifar_blocks` and `IMAGENET_BLOCKS`.
    stem: 'cifar', a 3x3 convolution; or 'imagenet', which divides height and width by 4.
    width: the growth rate k, the channels that every block adds; 12 or 32 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    blocks: Sequence[int],
    stem: Stem = 'cifar',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    channels = 2 * width
    stages: dict[str, nnx.Module] = {
      'stem': conv(in_channels, channels, 3, dtype=dtype, rngs=rngs)
      if stem == 'cifar'
      else ImageNetStem(in_channels, channels, dtype=dtype, rngs=rngs)
    }
    for group, size in enumerate(blocks, 1):
      for block in range(1, size + 1):
        stages[f'stage{group}_block{block}'] = Block(channels, width, dtype=dtype, rngs=rngs)
        channels += width
      if group < len(blocks):
        stages[f'transition{group}'] = Transition(channels, channels // 2, dtype=dtype, rngs=rngs)
        channels //= 2
    stages['norm'] = norm_relu(channels, dtype=dtype)
    super().__init__(stages)
