"""Exit heads of convolutions, pooling and dense layers.

All heads have the same arguments:
  shape: (height, width, channels) of the feature map.
  num_classes: number of classes.
  width: channels inside the head.
  dtype: of the computation; parameters are at least float32.
  rngs: random keys of the initial parameters.
"""

import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.heads.head import Head
from mecl_jax.models.layers import (
  BatchNorm,
  ConvNorm,
  conv,
  dense,
  global_average,
  linear,
  parameter_dtype,
)
from mecl_jax.models.named import Named

Shape = tuple[int, int, int]  # height, width, channels

POOLED = 4  # maximum height and width after pooling, in pixels


def pooling_window(shape: Shape) -> tuple[int, int]:
  """Returns the smallest pooling window, also used as stride, that leaves at most 4x4 pixels."""
  height, width, _ = shape
  return math.ceil(height / POOLED), math.ceil(width / POOLED)


def pooled_pixels(shape: Shape) -> int:
  """Returns the number of pixels after pooling with `pooling_window` and padding 'SAME'."""
  return math.prod(
    math.ceil(side / window) for side, window in zip(shape[:2], pooling_window(shape), strict=True)
  )


class LinearHead(Head):
  """Global average pooling and a dense layer; `width` has no effect."""

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    del width
    self.linear = linear(shape[-1], num_classes, dtype=dtype, rngs=rngs)

  def summarise(self, features: jax.Array) -> jax.Array:
    return global_average(features)

  def embed(self, summary: jax.Array) -> jax.Array:
    return summary


class MaxPoolHead(Head):
  """Global max pooling and a dense layer without bias, whose logits are divided by 9.

  Small logits let a dense layer learn at the high rate of convolutions with batch norm. `width` has
  no effect.

  References:
    Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498.
  """

  SCALE = 1 / 9

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    del width
    self.linear = linear(shape[-1], num_classes, use_bias=False, dtype=dtype, rngs=rngs)

  def summarise(self, features: jax.Array) -> jax.Array:
    pixels = features.reshape(features.shape[0], -1, features.shape[-1])
    # Not `max`: its gradient divides by the number of maxima, which is 0 if the compiler computes
    # the features twice and rounds differently.
    where = pixels.argmax(axis=1, keepdims=True)
    return jnp.take_along_axis(pixels, where, axis=1)[:, 0]

  def embed(self, summary: jax.Array) -> jax.Array:
    return summary

  def answer(self, embedded: jax.Array) -> jax.Array:
    return self.SCALE * self.linear(embedded)


class ConvHead(Head):
  """A 3x3 convolution with stride 2 to `width` channels, batch norm, ReLU, then as `LinearHead`."""

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.conv = conv(shape[-1], width, 3, stride=2, dtype=dtype, rngs=rngs)
    self.norm = BatchNorm(width, dtype=dtype)
    self.linear = linear(width, num_classes, dtype=dtype, rngs=rngs)

  def embed(self, summary: jax.Array) -> jax.Array:
    return global_average(nnx.relu(self.norm(self.conv(summary))))


class MSDNetHead(Head):
  """Two 3x3 convolutions with stride 2, batch norm and ReLU, then as `LinearHead`.

  Both convolutions have `width` channels; the paper has 128 on CIFAR.

  References:
    Huang et al., "Multi-Scale Dense Networks for Resource Efficient Image Classification", ICLR
    2018, arXiv 1703.09844.
  """

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.first = ConvNorm(shape[-1], width, 3, stride=2, dtype=dtype, rngs=rngs)
    self.second = ConvNorm(width, width, 3, stride=2, dtype=dtype, rngs=rngs)
    self.linear = linear(width, num_classes, dtype=dtype, rngs=rngs)

  def embed(self, summary: jax.Array) -> jax.Array:
    return global_average(self.second(self.first(summary)))


class SeparableBlock(nnx.Module):
  """Two separable 3x3 convolutions, each followed by batch norm and ReLU.

  The first has stride 2 and the second doubles the channels: [B, H, W, C] -> [B, H/2, W/2, 2C].
  Odd sizes round up.
  """

  def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    settings: dict[str, Any] = {'dtype': dtype, 'rngs': rngs}
    self.depthwise1 = conv(channels, channels, 3, stride=2, groups=channels, **settings)
    self.pointwise1 = ConvNorm(channels, channels, 1, **settings)
    self.depthwise2 = conv(channels, channels, 3, groups=channels, **settings)
    self.pointwise2 = ConvNorm(channels, 2 * channels, 1, **settings)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.pointwise2(self.depthwise2(self.pointwise1(self.depthwise1(x))))


class SeparableHead(Head):
  """`SeparableBlock`s until at most 4x4 pixels are left, then as `LinearHead`.

  `width` has no effect.

  References:
    Zhang, Bao and Ma, "Self-Distillation: Towards Efficient and Compact Neural Networks", TPAMI
    2021 (the shallow classifiers).
  """

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    del width
    side, channels, blocks = max(shape[:2]), shape[-1], dict[str, nnx.Module]()
    while side > POOLED:
      blocks[f'block{len(blocks) + 1}'] = SeparableBlock(channels, dtype=dtype, rngs=rngs)
      side, channels = math.ceil(side / 2), 2 * channels
    self.block_names = tuple(blocks)  # in order
    self.blocks = Named(blocks)
    self.linear = linear(channels, num_classes, dtype=dtype, rngs=rngs)

  def embed(self, summary: jax.Array) -> jax.Array:
    for name in self.block_names:
      summary = self.blocks[name](summary)
    return global_average(summary)


class MLPHead(Head):
  """Convolution, max pooling, dense layer, dropout, dense layer: the branch of BranchyNet.

  A 3x3 convolution to `width` channels with batch norm and ReLU, max pooling to at most 4x4 pixels,
  a dense layer to 4 * `width` features with ReLU, dropout with rate 0.5, and a dense layer.

  References:
    Teerapittayanon et al., "BranchyNet: Fast Inference via Early Exiting from Deep Neural
    Networks", ICPR 2016, arXiv 1709.01686.
  """

  DROPOUT = 0.5
  GROWTH = 4  # features of the dense layer, in multiples of `width`

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.window = pooling_window(shape)
    self.conv = ConvNorm(shape[-1], width, 3, dtype=dtype, rngs=rngs)
    features, hidden = pooled_pixels(shape) * width, self.GROWTH * width
    self.dense = dense(features, hidden, gain=2, dtype=dtype, rngs=rngs)
    self.dropout = nnx.Dropout(self.DROPOUT, rngs=nnx.Rngs(dropout=0))  # see `draw_dropout`
    self.linear = linear(hidden, num_classes, dtype=dtype, rngs=rngs)

  def embed(self, summary: jax.Array) -> jax.Array:
    pooled = nnx.max_pool(
      self.conv(summary), window_shape=self.window, strides=self.window, padding='SAME'
    )
    hidden = nnx.relu(self.dense(pooled.reshape(pooled.shape[0], -1)))
    return self.dropout(hidden)


class MixedPoolHead(Head):
  """A learned mix of max and average pooling to at most 4x4 pixels, and a dense layer.

  `width` has no effect.

  References:
    Kaya, Hong and Dumitras, "Shallow-Deep Networks: Understanding and Mitigating Network
    Overthinking", ICML 2019, arXiv 1810.07052 (the internal classifiers).
  """

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    del width
    self.window = pooling_window(shape)
    # Logit of the share of max pooling; 0 gives both poolings the same weight.
    self.mix = nnx.Param(jnp.zeros((), parameter_dtype(dtype)))
    self.linear = linear(pooled_pixels(shape) * shape[-1], num_classes, dtype=dtype, rngs=rngs)

  def summarise(self, features: jax.Array) -> jax.Array:
    """Returns max and average pooling, [B, 2, pixels * C]."""
    window: dict[str, Any] = {
      'window_shape': self.window,
      'strides': self.window,
      'padding': 'SAME',
    }
    highest = nnx.max_pool(features, **window)
    mean = nnx.avg_pool(features, count_include_pad=False, **window)
    return jnp.stack((highest, mean), axis=1).reshape(features.shape[0], 2, -1)

  def embed(self, summary: jax.Array) -> jax.Array:
    share = nnx.sigmoid(self.mix[...]).astype(summary.dtype)
    return share * summary[:, 0] + (1 - share) * summary[:, 1]
