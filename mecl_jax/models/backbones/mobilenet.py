"""MobileNet (Howard et al. 2017, arXiv 1704.04861) and MobileNetV2 (Sandler et al., CVPR 2018,
arXiv 1801.04381)."""

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

conv_relu6 = functools.partial(ConvNorm, activation=nnx.relu6)


def groups_for(stem: Stem, groups: Sequence[tuple[int, ...]]) -> Sequence[tuple[int, ...]]:
  """For CIFAR the second group, which would halve the image, leaves its size alone."""
  if stem == 'imagenet':
    return groups
  first, (*kind, _), *others = groups
  return first, (*kind, 1), *others


class SeparableBlock(nnx.Module):
  """A depthwise 3x3 and a 1x1 convolution, each with batch norm and ReLU6.

  Keras's network pads the right and the bottom where the stride is 2, whatever the size: odd ones
  are rounded down, where 'SAME' and PyTorch round up.
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


class MobileNetV1(Backbone):
  """MobileNet without its classifier: a stem and thirteen depthwise separable blocks.

  The stages are `stem`, `stage1_block1`, `stage2_block1`, .., `stage5_block2`; a group has as many
  channels throughout.

  Args:
    in_channels: of the images.
    stem: 'imagenet', where height and width are halved five times; or 'cifar', where the stem and
      the second group do not halve them.
    origin: whose weights it can take, Keras's (MobileNet) or timm's (mobilenetv1_100).
    width: channels of the stem, 32 in the paper; all others are scaled alike.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
  """

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
    make_block = functools.partial(SeparableBlock, origin=origin, dtype=dtype, rngs=rngs)
    groups = groups_for(stem, V1_GROUPS)
    stages, _ = grouped_stages(
      in_channels, groups, make_conv=make_conv, make_block=make_block, stem=stem, width=width
    )
    super().__init__(stages)


class MobileNetV2(Backbone):
  """MobileNetV2 without its classifier.

  The stages are `stem`, the inverted residuals `stage1_block1`, `stage2_block1`, ..,
  `stage7_block1`, and `top`, a last 1x1 convolution with batch norm and ReLU6.

  Args:
    in_channels: of the images.
    stem: as of `MobileNetV1`.
    origin: whose weights it can take, Keras's or those of torchvision and timm.
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
    origin: Origin = 'keras',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    make_conv = functools.partial(conv_relu6, dtype=dtype, rngs=rngs, **SETTINGS[origin])
    make_block = functools.partial(InvertedBlock, origin=origin, dtype=dtype, rngs=rngs)
    groups = groups_for(stem, V2_GROUPS)
    stages, channels = grouped_stages(
      in_channels, groups, make_conv=make_conv, make_block=make_block, stem=stem, width=width
    )
    stages['top'] = make_conv(channels, scaled(V2_TOP, width), 1)
    super().__init__(stages)
