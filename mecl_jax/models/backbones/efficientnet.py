"""EfficientNet and EfficientNet-Lite.

References:
  Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
  arXiv 1905.11946. EfficientNet-Lite is the version that Google published in 2020 for devices
  without fast swish and squeeze.
"""

from collections.abc import Callable
import functools
import math
from typing import Any

from flax import nnx
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.imagenet import SETTINGS, Origin, Stem, grouped_stages, scaled
from mecl_jax.models.backbones.inverted import InvertedBlock
from mecl_jax.models.layers import ConvNorm

GROUPS = (  # expansion, size of the depthwise kernel, channels, blocks, stride
  (1, 3, 16, 1, 1),
  (6, 3, 24, 2, 2),
  (6, 5, 40, 2, 2),
  (6, 3, 80, 3, 2),
  (6, 5, 112, 3, 1),
  (6, 5, 192, 4, 2),
  (6, 3, 320, 1, 1),
)
TOP = 1280  # channels of the last convolution
LITE = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # version: factor of channels, of blocks
SQUEEZE = 4  # input channels of a block, in multiples of the channels inside its squeeze


def lite_groups(version: int) -> tuple[tuple[int, ...], ...]:
  """Returns `GROUPS` of an EfficientNet-Lite: 0, 1 or 2.

  The first and the last group keep their number of blocks, and all channels are multiples of 8.

  >>> lite_groups(2)[2]
  (6, 5, 48, 3, 2)
  """
  wider, deeper = LITE[version]
  groups = []
  for expansion, size, channels, blocks, stride in GROUPS:
    ends = (expansion, size, channels, blocks, stride) in (GROUPS[0], GROUPS[-1])
    blocks = blocks if ends else math.ceil(blocks * deeper)
    groups.append((expansion, size, _multiple_of_8(channels * wider), blocks, stride))
  return tuple(groups)


def _multiple_of_8(channels: float) -> int:
  """Returns the nearest multiple of 8, or the next if that takes away more than a tenth."""
  nearest = max(8, int(channels + 4) // 8 * 8)
  return nearest + 8 * (nearest < 0.9 * channels)


class EfficientNet(Backbone):
  """EfficientNet-B0, or an EfficientNet-Lite, without its classifier.

  The stages are `stem`; the inverted residuals `stage1_block1`, `stage2_block1`, ..,
  `stage7_block1` with squeeze and excitation; and `top`, a last 1x1 convolution with batch norm and
  swish. EfficientNet-Lite has ReLU6 instead of swish and no squeeze and excitation. Stochastic
  depth, which the paper uses for training, is not implemented.

  Args:
    in_channels: channels of the images.
    lite: version of EfficientNet-Lite, a key of `LITE`; None for EfficientNet-B0.
    stem: 'imagenet', which halves height and width five times; or 'cifar', where the convolution of
      the stem has stride 1 and they are halved four times.
    origin: publisher of compatible weights: 'keras' (Keras, and tf_efficientnet_b0 of timm) or
      'torch' (torchvision, and efficientnet_b0 of timm).
    width: channels of the stem, 32 in the paper; all other channels are scaled with it.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    lite: int | None = None,
    stem: Stem = 'imagenet',
    origin: Origin = 'keras',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    activation = nnx.swish if lite is None else nnx.relu6
    groups = GROUPS if lite is None else lite_groups(lite)
    common: dict[str, Any] = {'activation': activation, 'dtype': dtype, 'rngs': rngs}
    make_conv: Callable[..., ConvNorm] = functools.partial(ConvNorm, **SETTINGS[origin], **common)

    def make_block(in_channels, channels, expansion, size, *, stride):
      squeezed = max(1, in_channels // SQUEEZE) if lite is None else 0
      settings = {'stride': stride, 'squeezed': squeezed, 'origin': origin, **common}
      return InvertedBlock(in_channels, channels, expansion, size, **settings)

    stages, channels = grouped_stages(
      in_channels, groups, make_conv=make_conv, make_block=make_block, stem=stem, width=width
    )
    stages['top'] = make_conv(channels, scaled(TOP, width), 1)
    super().__init__(stages)
