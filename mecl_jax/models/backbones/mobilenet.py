"""MobileNet (Howard et al. 2017, arXiv 1704.04861) and MobileNetV2 (Sandler et al., CVPR 2018,
arXiv 1801.04381).

ReLU6, the batch norm's epsilon and the padding are those of the published Keras weights.
"""

import functools
from typing import Literal

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import BatchNorm, ConvNorm, conv

Stem = Literal['cifar', 'imagenet']

EPSILON = 1e-3
WIDTH = 32  # channels of the published stems, to which those below belong
V1_GROUPS = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))  # channels, n, stride
V2_GROUPS = (  # expansion, channels, blocks, stride
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)
V2_TOP = 1280

conv_relu6 = functools.partial(ConvNorm, padding='SAME', activation=nnx.relu6, epsilon=EPSILON)


def depthwise(channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs) -> ConvNorm:
  """3x3, every channel by itself, with batch norm and ReLU6."""
  return conv_relu6(channels, channels, 3, stride=stride, groups=channels, dtype=dtype, rngs=rngs)


def scaled(channels: int, width: int) -> int:
  """Published channels for a stem of `width` of them in place of 32; rounded, at least 1."""
  return max(1, round(channels * width / WIDTH))


def strides(published: int, group: int, stem: Stem) -> int:
  """Of a group's first block (group 0: of the stem).

  For CIFAR the stem and the second group, which would both halve the image, leave its size alone.
  """
  return 1 if stem == 'cifar' and group in (0, 2) else published


class SeparableBlock(nnx.Module):
  """A depthwise 3x3 and a 1x1 convolution, each with batch norm and ReLU6."""

  def __init__(
    self, in_channels: int, channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.depthwise = depthwise(in_channels, stride=stride, dtype=dtype, rngs=rngs)
    self.pointwise = conv_relu6(in_channels, channels, 1, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.pointwise(self.depthwise(x))


class InvertedBlock(nnx.Module):
  """The inverted residual with a linear bottleneck.

  A 1x1 convolution to `expansion` times the channels (none where that is 1) and a depthwise 3x3,
  each with batch norm and ReLU6; then a 1x1 convolution with batch norm only. The input is added
  where it has the same shape.
  """

  def __init__(
    self,
    in_channels: int,
    channels: int,
    *,
    expansion: int,
    stride: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    inner = in_channels * expansion
    self.expands = expansion > 1
    if self.expands:
      self.expand = conv_relu6(in_channels, inner, 1, dtype=dtype, rngs=rngs)
    self.depthwise = depthwise(inner, stride=stride, dtype=dtype, rngs=rngs)
    self.project = conv(inner, channels, 1, dtype=dtype, rngs=rngs)
    self.norm = BatchNorm(channels, epsilon=EPSILON, dtype=dtype)
    self.adds = stride == 1 and in_channels == channels

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.expand(x) if self.expands else x
    y = self.norm(self.project(self.depthwise(y)))
    return x + y if self.adds else y


class MobileNetV1(Backbone):
  """MobileNet without its classifier: a stem and thirteen depthwise separable blocks.

  The stages are `stem`, `stage1_block1`, `stage2_block1`, .., `stage5_block2`; a group has as many
  channels throughout.

  Args:
    in_channels: of the images.
    stem: 'imagenet', where height and width are halved five times; or 'cifar', where the stem and
      the second group do not halve them.
    width: channels of the stem, 32 in the paper; all others are scaled alike.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    stem: Stem = 'imagenet',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    stride = strides(2, 0, stem)
    stages: dict[str, nnx.Module] = {
      'stem': conv_relu6(in_channels, width, 3, stride=stride, dtype=dtype, rngs=rngs)
    }
    channels = width
    for group, (published, blocks, stride) in enumerate(V1_GROUPS, 1):
      for block in range(1, blocks + 1):
        out_channels = scaled(published, width)
        stages[f'stage{group}_block{block}'] = SeparableBlock(
          channels,
          out_channels,
          stride=strides(stride, group, stem) if block == 1 else 1,
          dtype=dtype,
          rngs=rngs,
        )
        channels = out_channels
    super().__init__(stages)


class MobileNetV2(Backbone):
  """MobileNetV2 without its classifier.

  The stages are `stem`, the inverted residuals `stage1_block1`, `stage2_block1`, ..,
  `stage7_block1`, and `top`, a last 1x1 convolution with batch norm and ReLU6.

  Args:
    in_channels: of the images.
    stem: as of `MobileNetV1`.
    width: channels of the stem, 32 in the paper; all others are scaled alike, `top` too, which the
      paper never makes narrower.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    stem: Stem = 'imagenet',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    stride = strides(2, 0, stem)
    stages: dict[str, nnx.Module] = {
      'stem': conv_relu6(in_channels, width, 3, stride=stride, dtype=dtype, rngs=rngs)
    }
    channels = width
    for group, (expansion, published, blocks, stride) in enumerate(V2_GROUPS, 1):
      for block in range(1, blocks + 1):
        out_channels = scaled(published, width)
        stages[f'stage{group}_block{block}'] = InvertedBlock(
          channels,
          out_channels,
          expansion=expansion,
          stride=strides(stride, group, stem) if block == 1 else 1,
          dtype=dtype,
          rngs=rngs,
        )
        channels = out_channels
    stages['top'] = conv_relu6(channels, scaled(V2_TOP, width), 1, dtype=dtype, rngs=rngs)
    super().__init__(stages)
