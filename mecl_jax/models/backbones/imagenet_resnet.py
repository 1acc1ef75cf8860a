"""ResNets for large images (He et al., "Deep Residual Learning", CVPR 2016, arXiv 1512.03385)."""

import functools
from typing import Any

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.imagenet import RESNET_EPSILON, ImageNetStem, Origin, Stem
from mecl_jax.models.layers import BatchNorm, ConvNorm, conv, conv3x3

BLOCKS = {  # depth: in each group
  18: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
}
BOTTLENECKS = (50, 101, 152)  # depths whose blocks are bottlenecks; the others have basic ones
EXPANSION = 4  # channels of a bottleneck's output, in multiples of those inside


def _shortcut(
  in_channels: int, channels: int, *, stride: int, epsilon: float, dtype: DTypeLike, rngs: nnx.Rngs
) -> ConvNorm | None:
  """A 1x1 convolution with batch norm where the shape changes; None: the input itself."""
  if stride == 1 and channels == in_channels:
    return None
  settings: dict[str, Any] = {'epsilon': epsilon, 'dtype': dtype, 'rngs': rngs}
  return ConvNorm(in_channels, channels, 1, stride=stride, activation=nnx.identity, **settings)


class BasicBlock(nnx.Module):
  """Two 3x3 convolutions with batch norm, the first with the stride, beside a shortcut."""

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
    self.conv1 = conv3x3(in_channels, channels, stride=stride, dtype=dtype, rngs=rngs)
    self.norm1 = BatchNorm(channels, epsilon=epsilon, dtype=dtype)
    self.conv2 = conv3x3(channels, channels, dtype=dtype, rngs=rngs)
    self.norm2 = BatchNorm(channels, epsilon=epsilon, dtype=dtype)
    self.shortcut = _shortcut(
      in_channels, channels, stride=stride, epsilon=epsilon, dtype=dtype, rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class BottleneckBlock(nnx.Module):
  """1x1, 3x3 and 1x1 convolutions with batch norm, beside a shortcut.

  The stride is that of the first 1x1 convolution in the network of the paper and of Keras, of the
  3x3 one in that of PyTorch, known as v1.5.
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
  """A ResNet of 18, 34, 50, 101 or 152 layers, without its classifier.

  Four groups of blocks with 1, 2, 4 and 8 times `width` channels, 4 times as many where the blocks
  are bottlenecks, from 50 layers on; all but the first halve height and width. The stages are
  `stem`, `stage1_block1`, .., `stage4_block3`. Convolutions have no bias; Keras's have one, which a
  batch norm's mean can absorb.

  Args:
    in_channels: of the images.
    depth: a key of `BLOCKS`, counting the classifier's layer but no shortcuts.
    stem: 'imagenet', which quarters height and width; or 'cifar', a 3x3 convolution with batch norm
      and ReLU, which leaves them alone.
    origin: whose weights it can take, Keras's (ResNet50, ..) or those of torchvision and timm;
      Keras publishes none with basic blocks.
    width: channels of the stem and inside the first group's blocks, 64 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
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
    channels = width
    for group, blocks in enumerate(BLOCKS[depth], 1):
      out_channels = expansion * width * 2 ** (group - 1)
      for block in range(1, blocks + 1):
        stride = 2 if group > 1 and block == 1 else 1
        stages[f'stage{group}_block{block}'] = make(
          channels, out_channels, stride=stride, origin=origin, dtype=dtype, rngs=rngs
        )
        channels = out_channels
    super().__init__(stages)
