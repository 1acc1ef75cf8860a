"""ResNets for large images.

References:
  He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385.
"""

import functools
from typing import Any

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone, add_groups
from mecl_jax.models.backbones.imagenet import RESNET_EPSILON, ImageNetStem, Origin, Stem
from mecl_jax.models.layers import BatchNorm, ConvNorm, conv

BLOCKS = {  # depth: blocks in each group
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
}
BOTTLENECKS = (50, 101, 152)  # depths with bottleneck blocks; the others have basic blocks
EXPANSION = 4  # output channels of a bottleneck block, in multiples of its inner channels


def _shortcut(
  in_channels: int, channels: int, *, stride: int, epsilon: float, dtype: DTypeLike, rngs: nnx.Rngs
) -> ConvNorm | None:
  """Returns a 1x1 convolution with batch norm, or None if the shape does not change."""
  if stride == 1 and channels == in_channels:
    return None
  settings: dict[str, Any] = {'epsilon': epsilon, 'dtype': dtype, 'rngs': rngs}
  return ConvNorm(in_channels, channels, 1, stride=stride, activation=nnx.identity, **settings)


class BasicBlock(nnx.Module):
  """Two 3x3 convolutions with batch norm, and a shortcut; the first has the stride."""

  def __init__(
    self,
    in_channels: int,
    channels: int,
    *,
    stride: int,
    origin: Origin = 'torch',
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    epsilon = RESNET_EPSILON[origin]
    self.conv1 = conv(in_channels, channels, 3, stride=stride, dtype=dtype, rngs=rngs)
    self.norm1 = BatchNorm(channels, epsilon=epsilon, dtype=dtype)
    self.conv2 = conv(channels, channels, 3, dtype=dtype, rngs=rngs)
    self.norm2 = BatchNorm(channels, epsilon=epsilon, dtype=dtype)
    self.shortcut = _shortcut(
      in_channels, channels, stride=stride, epsilon=epsilon, dtype=dtype, rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class BottleneckBlock(nnx.Module):
  """1x1, 3x3 and 1x1 convolutions with batch norm, and a shortcut.

  The first 1x1 convolution has the stride in the networks of the paper and of Keras, the 3x3
  convolution in those of PyTorch, known as v1.5.
  """

  def __init__(
    self,
    in_channels: int,
    channels: int,
    *,
    stride: int,
    origin: Origin = 'keras',
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    inner = channels // EXPANSION
    epsilon = RESNET_EPSILON[origin]
    norm = functools.partial(BatchNorm, epsilon=epsilon, dtype=dtype)
    first, second = (stride, 1) if origin == 'keras' else (1, stride)
    self.conv1 = conv(in_channels, inner, 1, stride=first, dtype=dtype, rngs=rngs)
    self.norm1 = norm(inner)
    self.conv2 = conv(inner, inner, 3, stride=second, dtype=dtype, rngs=rngs)
    self.norm2 = norm(inner)
    self.conv3 = conv(inner, channels, 1, dtype=dtype, rngs=rngs)
    self.norm3 = norm(channels)
    self.shortcut = _shortcut(
      in_channels, channels, stride=stride, epsilon=epsilon, dtype=dtype, rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = nnx.relu(self.norm2(self.conv2(y)))
    y = self.norm3(self.conv3(y))
    return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ImageNetResNet(Backbone):
  """A ResNet with 18, 34, 50, 101 or 152 layers, without its classifier.

  It has four groups of blocks with 1, 2, 4 and 8 times `width` channels, and 4 times as many with
  bottleneck blocks (50 layers and more). All groups but the first halve height and width. The
  stages are `stem`, `stage1_block1`, .., `stage4_block<n>`. The convolutions have no bias. Those of
  Keras have one; published weights add it to the mean of the batch norm (see
  `pretrained.convert`).

  Args:
    in_channels: channels of the images.
    depth: a key of `BLOCKS`; the classifier counts as one layer, shortcuts do not count.
    stem: 'imagenet', which divides height and width by 4; or 'cifar', a 3x3 convolution with batch
      norm and ReLU, which keeps them.
    origin: publisher of compatible weights: 'keras' (ResNet50, ..), or 'torch' (torchvision and
      timm). Keras publishes no weights with basic blocks.
    width: channels of the stem and inside the blocks of the first group; 64 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    depth: int,
    stem: Stem = 'imagenet',
    origin: Origin = 'keras',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    settings: dict[str, Any] = {'epsilon': RESNET_EPSILON[origin], 'dtype': dtype, 'rngs': rngs}
    stages: dict[str, nnx.Module] = {
      'stem': ConvNorm(in_channels, width, 3, **settings)
      if stem == 'cifar'
      else ImageNetStem(in_channels, width, **settings)
    }
    make, expansion = (BottleneckBlock, EXPANSION) if depth in BOTTLENECKS else (BasicBlock, 1)
    groups = [
      (expansion * width * 2**group, blocks, 1 if group == 0 else 2)
      for group, blocks in enumerate(BLOCKS[depth])
    ]
    add_groups(stages, width, groups, make, origin=origin, dtype=dtype, rngs=rngs)
    super().__init__(stages)
