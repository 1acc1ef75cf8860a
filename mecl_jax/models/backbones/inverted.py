"""The inverted residual block of MobileNetV2 and EfficientNet."""

from collections.abc import Callable
import functools

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.imagenet import SETTINGS, Origin
from mecl_jax.models.layers import BatchNorm, ConvNorm, conv, global_average, linear


class SqueezeExcite(nnx.Module):
  """Squeeze and excitation: scales every channel by a factor in (0, 1); shapes do not change.

  The factors are a function of the global average: a dense layer to `squeezed` channels, swish, a
  dense layer back and a sigmoid, in at least float32.

  References:
    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv 1709.01507.
  """

  def __init__(self, channels: int, squeezed: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.reduce = linear(channels, squeezed, dtype=dtype, rngs=rngs)
    self.expand = linear(squeezed, channels, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    scale = nnx.sigmoid(self.expand(nnx.swish(self.reduce(global_average(x)))))
    return x * scale[:, None, None].astype(x.dtype)


class InvertedBlock(nnx.Module):
  """The inverted residual block with a linear bottleneck.

  A 1x1 convolution to `expansion` times the channels (left out if that is 1) and a depthwise
  convolution, each with batch norm and activation, are followed by a 1x1 convolution with batch
  norm only. The input is added to the output if both have the same shape.

  Args:
    in_channels, channels: channels of input and output.
    expansion: factor for the inner channels.
    size: height and width of the depthwise kernel.
    stride: of the depthwise convolution.
    squeezed: channels inside a `SqueezeExcite` after the depthwise convolution; 0 for none.
    activation: after the batch norms, except the last.
    origin: publisher whose padding and epsilon are used.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.

  References:
    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv
    1801.04381.
  """

  def __init__(
    self,
    in_channels: int,
    channels: int,
    expansion: int,
    size: int = 3,
    *,
    stride: int,
    squeezed: int = 0,
    activation: Callable[[jax.Array], jax.Array] = nnx.relu6,
    origin: Origin = 'keras',
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    settings = SETTINGS[origin]
    conv_norm: Callable[..., ConvNorm] = functools.partial(
      ConvNorm, activation=activation, dtype=dtype, rngs=rngs, **settings
    )
    inner = in_channels * expansion
    self.expands, self.squeezes = expansion > 1, squeezed > 0
    if self.expands:
      self.expand = conv_norm(in_channels, inner, 1)
    self.depthwise = conv_norm(inner, inner, size, stride=stride, groups=inner)
    if self.squeezes:
      self.squeeze = SqueezeExcite(inner, squeezed, dtype=dtype, rngs=rngs)
    self.project = conv(inner, channels, 1, dtype=dtype, rngs=rngs)
    self.norm = BatchNorm(channels, epsilon=settings['epsilon'], dtype=dtype)
    self.adds = stride == 1 and in_channels == channels

  def __call__(self, x: jax.Array) -> jax.Array:
    y = self.expand(x) if self.expands else x
    y = self.depthwise(y)
    y = self.squeeze(y) if self.squeezes else y
    y = self.norm(self.project(y))
    return x + y if self.adds else y
