"""The network of fast trainings on CIFAR-10.

References:
  Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498.
"""

from typing import Any

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import BatchNorm, conv, halve, normal
from mecl_jax.models.whitening import Whitening

FACTORS = (1, 4, 4)  # channels of the blocks, in multiples of the first block's
MOMENTUM = 0.6  # of batch norm; runs of a few hundred steps need fast averages
INITIAL = normal(1 / 3, identity=True)


class Stem(nnx.Module):
  """A whitening 2x2 convolution and GELU; [B, H, W, C] -> [B, H - 1, W - 1, 8 C]."""

  def __init__(self, in_channels: int, *, dtype: DTypeLike):
    self.whitening = Whitening(in_channels, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    return nnx.gelu(self.whitening(x))


class Block(nnx.Module):
  """Two 3x3 convolutions, with 2x2 max pooling after the first, each with batch norm and GELU.

  [B, H, W, in] -> [B, H // 2, W // 2, out]. The initial convolutions copy channels, so that a new
  block passes its input on. Batch norm has a bias per channel and no scale.
  """

  def __init__(self, in_channels: int, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    settings: dict[str, Any] = {'kernel_init': INITIAL, 'dtype': dtype, 'rngs': rngs}
    norm: dict[str, Any] = {'momentum': MOMENTUM, 'use_scale': False, 'dtype': dtype}
    self.conv1 = conv(in_channels, channels, 3, **settings)
    self.norm1 = BatchNorm(channels, **norm)
    self.conv2 = conv(channels, channels, 3, **settings)
    self.norm2 = BatchNorm(channels, **norm)

  def __call__(self, x: jax.Array) -> jax.Array:
    x = nnx.gelu(self.norm1(halve(self.conv1(x))))
    return nnx.gelu(self.norm2(self.conv2(x)))


class Speedrun(Backbone):
  """A convolutional network of eight layers for short trainings, without its classifier.

  The stages are `stem`, with a frozen convolution from the statistics of the training images, and
  `stage1`, `stage2`, `stage3` with `width`, 4 * `width` and 4 * `width` channels.

  Args:
    in_channels: channels of the images.
    width: channels of the first block; 64 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(self, in_channels: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs):
    stages: dict[str, nnx.Module] = {'stem': Stem(in_channels, dtype=dtype)}
    channels = 8 * in_channels
    for number, factor in enumerate(FACTORS, 1):
      stages[f'stage{number}'] = Block(channels, factor * width, dtype=dtype, rngs=rngs)
      channels = factor * width
    super().__init__(stages)
