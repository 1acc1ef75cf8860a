"""EfficientNet (Tan & Le, ICML 2019, arXiv 1905.11946)."""

from collections.abc import Callable
import functools
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
TOP = 1280
SQUEEZE = 4  # times fewer channels inside a squeeze than a block's input has


class EfficientNet(Backbone):
  """EfficientNet-B0 without its classifier.

  The stages are `stem`, the inverted residuals `stage1_block1`, `stage2_block1`, ..,
  `stage7_block1`, each with squeeze and excitation, and `top`, a last 1x1 convolution; batch norm
  and swish follow. There is no stochastic depth, with which the paper trains.

  Args:
    in_channels: of the images.
    stem: 'imagenet', where height and width are halved five times; or 'cifar', where the stem's
      convolution has stride 1 and they are halved four times.
    origin: whose weights it can take, those of Keras and of timm's tf_efficientnet_b0, or those of
      torchvision and of timm's efficientnet_b0.
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
    common: dict[str, Any] = {'activation': nnx.swish, 'dtype': dtype, 'rngs': rngs}
    make_conv: Callable[..., ConvNorm] = functools.partial(ConvNorm, **SETTINGS[origin], **common)

    def make_block(in_channels, channels, expansion, size, *, stride):
      squeezed = max(1, in_channels // SQUEEZE)
      settings = {'stride': stride, 'squeezed': squeezed, 'origin': origin, **common}
      return InvertedBlock(in_channels, channels, expansion, size, **settings)

    stages, channels = grouped_stages(
      in_channels, GROUPS, make_conv=make_conv, make_block=make_block, stem=stem, width=width
    )
    stages['top'] = make_conv(channels, scaled(TOP, width), 1)
    super().__init__(stages)
