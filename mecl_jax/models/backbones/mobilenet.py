"""MobileNet and MobileNetV2.

References:
  Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
  Applications", 2017, arXiv 1704.04861.
  Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv
  1801.04381.
"""

from collections.abc import Sequence
import functools
from typing import Any

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.imagenet import SETTINGS, Origin, Stem, grouped_stages, scaled
from mecl_jax.models.backbones.inverted import InvertedBlock
from mecl_jax.models.layers import ConvNorm

conv_relu6 = functools.partial(ConvNorm, activation=nnx.relu6)


def groups_for(stem: Stem, groups: Sequence[tuple[int, ...]]) -> Sequence[tuple[int, ...]]:
  """Returns the groups for a stem; for 'cifar' the second group has stride 1 instead of 2."""
  if stem == 'imagenet':
    return groups
  first, (*kind, _), *others = groups
  return first, (*kind, 1), *others


class SeparableBlock(nnx.Module):
  """A depthwise 3x3 and a 1x1 convolution, each with batch norm and ReLU6.

  With stride 2 the network of Keras pads the right and the bottom only. Odd sizes are then rounded
  down, while 'SAME' and the padding of PyTorch round them up.
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
    settings: dict[str, Any] = {**SETTINGS[origin], 'dtype': dtype, 'rngs': rngs}
    padded = {'padding': ((0, 1), (0, 1))} if origin == 'keras' and stride == 2 else {}
    self.depthwise = conv_relu6(
      in_channels, in_channels, 3, stride=stride, groups=in_channels, **{**settings, **padded}
    )
    self.pointwise = conv_relu6(in_channels, channels, 1, **settings)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.pointwise(self.depthwise(x))


class MobileNet(Backbone):
  """The common parts of `MobileNetV1` and `MobileNetV2`.

  Args:
    in_channels: channels of the images.
    stem: 'imagenet', which halves height and width five times; or 'cifar', where the stem and the
      second group keep them, so that they are halved three times.
    origin: publisher of compatible weights, 'keras' or 'torch'.
    width: channels of the stem, 32 in the papers; all other channels are scaled with it.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  GROUPS: Sequence[tuple[int, ...]]
  BLOCK: type[SeparableBlock | InvertedBlock]
  TOP = 0  # channels of the last convolution; 0 for none

  def __init__(
    self,
    in_channels: int,
    *,
    stem: Stem = 'imagenet',
    origin: Origin = 'keras',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    make_conv = functools.partial(conv_relu6, dtype=dtype, rngs=rngs, **SETTINGS[origin])
    make_block = functools.partial(self.BLOCK, origin=origin, dtype=dtype, rngs=rngs)
    groups = groups_for(stem, self.GROUPS)
    stages, channels = grouped_stages(
      in_channels, groups, make_conv=make_conv, make_block=make_block, stem=stem, width=width
    )
    if self.TOP:
      stages['top'] = make_conv(channels, scaled(self.TOP, width), 1)
    super().__init__(stages)


class MobileNetV1(MobileNet):
  """MobileNet without its classifier: a stem and thirteen depthwise separable blocks.

  The stages are `stem`, `stage1_block1`, `stage2_block1`, .., `stage5_block2`. All blocks of a
  group have the same number of channels. The arguments are those of `MobileNet`; compatible weights
  are those of Keras (MobileNet) or timm (mobilenetv1_100).
  """

  # channels, blocks, stride
  GROUPS = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
  BLOCK = SeparableBlock


class MobileNetV2(MobileNet):
  """MobileNetV2 without its classifier.

  The stages are `stem`, the inverted residuals `stage1_block1`, `stage2_block1`, ..,
  `stage7_block1`, and `top`, a last 1x1 convolution with batch norm and ReLU6. The arguments are
  those of `MobileNet`; compatible weights are those of Keras, or of torchvision and timm. The paper
  does not scale `top` below 1280 channels, this class does.
  """

  GROUPS = (  # expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
  )
  BLOCK = InvertedBlock
  TOP = 1280
