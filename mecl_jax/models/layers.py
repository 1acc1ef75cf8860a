"""Layers of backbones and heads."""

from collections.abc import Callable
import functools
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
import numpy as np

from mecl_jax.models.convolution import conv_general_dilated, depthwise

MOMENTUM = 0.9  # share of the old value in the moving averages of batch norm
EPSILON = 1e-5  # added to the variance by batch norm


def parameter_dtype(dtype: DTypeLike) -> jnp.dtype:
  """Returns the dtype of parameters and batch statistics for a compute dtype, at least float32."""
  return jnp.promote_types(dtype, jnp.float32)


# One function per gain: Flax 0.11 compares initialisers when it compares the forms of networks.
@functools.cache
def normal(gain: float, *, identity: bool = False) -> nnx.Initializer:
  """Returns an initialiser of kernels [.., in, out]: normal, with variance gain / fan-in.

  NumPy draws the numbers. They are the same on all devices, and nothing is compiled; `jax.random`
  compiles a program for every shape, which takes seconds for a network.

  Args:
    gain: 2 for a layer before a ReLU, 1 for any other.
    identity: whether the first filters of a convolution copy one input channel each, as far as
      there are input channels; the other filters are random.

  References:
    He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv 1502.01852.
    Zagoruyko and Komodakis, "DiracNets", 2017, arXiv 1706.00388 (the identity).
  """

  def draw(seed, shape, dtype):
    deviation = math.sqrt(gain / math.prod(shape[:-1]))
    kernel = np.random.default_rng(np.asarray(seed)).normal(0, deviation, shape)
    if identity:
      height, width, copied = shape[0], shape[1], min(shape[2:])
      kernel[..., :copied] = 0
      kernel[height // 2, width // 2, range(copied), range(copied)] = 1
    return kernel.astype(dtype)

  def initialise(key, shape, dtype=jnp.float32, out_sharding=None):
    del out_sharding  # required by the signature of initialisers
    seed = jax.random.key_data(key)
    if isinstance(seed, jax.core.Tracer):  # under `jax.jit` or `nnx.eval_shape`
      form = jax.ShapeDtypeStruct(shape, dtype)
      return jax.pure_callback(lambda seed: draw(seed, shape, dtype), form, seed)
    return jnp.asarray(draw(seed, shape, dtype))

  return initialise


def conv(
  in_channels: int,
  out_channels: int,
  size: int | tuple[int, int],
  *,
  stride: int = 1,
  padding: int | str | None = None,
  groups: int = 1,
  kernel_init: nnx.Initializer | None = None,
  dtype: DTypeLike,
  rngs: nnx.Rngs,
) -> nnx.Conv:
  """Makes a convolution without bias; [B, H, W, in] -> [B, H', W', out].

  Args:
    in_channels, out_channels: channels of the feature maps, multiples of `groups`.
    size: (height, width) of the kernel [height, width, in / groups, out], or one number for both.
    stride: in both directions.
    padding: pixels on every side; or 'SAME', which pads one pixel more on the right and at the
      bottom if the number is odd, as TensorFlow does; or None for size // 2, as in PyTorch's
      networks and the published CIFAR ResNets. With None, a stride of 2 rounds odd sizes up.
    groups: number of channel groups that are convolved separately; `in_channels` of them make the
      convolution depthwise.
    kernel_init: of the kernel; None: He's.
    dtype: of the computation; the kernel is at least float32.
    rngs: random keys of the initial kernel.
  """
  sides = (size, size) if isinstance(size, int) else size
  is_depthwise = groups == in_channels == out_channels > 1
  return nnx.Conv(
    in_channels,
    out_channels,
    sides,
    stride,
    padding=tuple((side // 2, side // 2) for side in sides) if padding is None else padding,
    feature_group_count=groups,
    use_bias=False,
    kernel_init=kernel_init or normal(2),
    conv_general_dilated=depthwise if is_depthwise else conv_general_dilated,
    dtype=dtype,
    param_dtype=parameter_dtype(dtype),
    rngs=rngs,
  )


def dense(
  in_features: int,
  out_features: int,
  *,
  gain: float = 1,
  use_bias: bool = True,
  dtype: DTypeLike,
  rngs: nnx.Rngs,
) -> nnx.Linear:
  """Makes a dense layer that computes in `dtype`; [.., in] -> [.., out].

  Args:
    in_features, out_features: sizes of the last axis.
    gain: of the initial kernel, see `normal`.
    use_bias: whether there is a bias.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial kernel.
  """
  return nnx.Linear(
    in_features,
    out_features,
    kernel_init=normal(gain),
    use_bias=use_bias,
    dtype=dtype,
    param_dtype=parameter_dtype(dtype),
    rngs=rngs,
  )


def linear(
  in_features: int,
  out_features: int,
  *,
  use_bias: bool = True,
  dtype: DTypeLike,
  rngs: nnx.Rngs,
) -> nnx.Linear:
  """Makes a dense layer that computes in at least float32, for logits; see `dense`."""
  return dense(
    in_features, out_features, use_bias=use_bias, dtype=parameter_dtype(dtype), rngs=rngs
  )


def global_average(x: jax.Array) -> jax.Array:
  """Returns the mean over height and width, [B, H, W, C] -> [B, C], in at least float32."""
  return x.mean(axis=(1, 2), dtype=parameter_dtype(x.dtype))


class BatchNorm(nnx.Module):
  """Batch normalisation of feature maps [B, H, W, C].

  Statistics are computed and stored in at least float32 for any dtype of the input. A batch that is
  split over several devices has common statistics. The variance is the biased estimate, in the
  normalisation and in the moving average.

  Args:
    channels: C.
    epsilon: added to the variance; the networks of Keras use other values than the default.
    momentum: share of the old value in the moving averages.
    use_scale: whether there is a factor per channel.
    dtype: of the computation.

  Attributes:
    scale, bias: nnx.Param [C]; `scale` is None without `use_scale`.
    mean, var: nnx.BatchStat [C], the moving averages.
    use_running_average: if true, normalise with the moving averages and do not change them; if
      false, normalise with the statistics of the batch. `set_trainable`, `train()` and `eval()`
      set it.

  References:
    Ioffe and Szegedy, "Batch Normalization", ICML 2015, arXiv 1502.03167.
  """

  def __init__(
    self,
    channels: int,
    *,
    epsilon: float = EPSILON,
    momentum: float = MOMENTUM,
    use_scale: bool = True,
    dtype: DTypeLike,
  ):
    dtype = parameter_dtype(dtype)
    self.scale = nnx.Param(jnp.ones(channels, dtype)) if use_scale else None
    self.bias = nnx.Param(jnp.zeros(channels, dtype))
    self.mean = nnx.BatchStat(jnp.zeros(channels, dtype))
    self.var = nnx.BatchStat(jnp.ones(channels, dtype))
    self.use_running_average = True
    self.epsilon, self.momentum = epsilon, momentum

  def __call__(self, x: jax.Array) -> jax.Array:
    # Whole rows of a feature map, [.., W * C]: on the CPU, sums over the batch are fast along long
    # rows and slow along few channels, in the forward and the backward pass.
    width, channels = x.shape[-2:]
    rows = x.reshape(-1, width * channels).astype(self.mean.dtype)
    if self.use_running_average:
      mean, var = self.mean[...], self.var[...]
    else:
      mean, var = _moments(rows, channels)
      self.mean[...] = self._moved(self.mean[...], mean)
      self.var[...] = self._moved(self.var[...], var)
    factor = jax.lax.rsqrt(var + self.epsilon)
    if self.scale is not None:
      factor = self.scale[...] * factor
    offset = self.bias[...] - mean * factor
    y = rows * jnp.tile(factor, width) + jnp.tile(offset, width)
    return y.reshape(x.shape).astype(x.dtype)

  def _moved(self, average: jax.Array, new: jax.Array) -> jax.Array:
    return self.momentum * average + (1 - self.momentum) * jax.lax.stop_gradient(new)


def _moments(rows: jax.Array, channels: int) -> tuple[jax.Array, jax.Array]:
  """Returns mean and variance per channel, [C] each, of rows [N, W * C]."""

  def average(rows):
    return rows.mean(0).reshape(-1, channels).mean(0)

  mean = average(rows)
  # The maximum is needed because rounding can make the difference negative.
  return mean, jnp.maximum(average(jnp.square(rows)) - jnp.square(mean), 0)


def halve(x: jax.Array) -> jax.Array:
  """Returns the maximum of every 2x2 pixels, [B, H, W, C] -> [B, H // 2, W // 2, C].

  The last line of an odd side is dropped. The gradient of `nnx.max_pool` is a scatter, which XLA
  computes slowly; that of this form is element by element, and equal maxima share it.
  """
  batch, height, width, channels = x.shape
  pairs = x[:, : height // 2 * 2, : width // 2 * 2]
  pairs = pairs.reshape(batch, height // 2, 2, width // 2, 2, channels)
  # Not `max(axis=..)`: its gradient divides by the number of maxima, which is 0 if the compiler
  # computes the input twice and rounds differently.
  rows = jnp.maximum(pairs[:, :, 0], pairs[:, :, 1])
  return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


class NormReLU(nnx.Module):
  """Batch norm and ReLU, as in pre-activation networks; [B, H, W, C] -> [B, H, W, C]."""

  def __init__(self, channels: int, *, epsilon: float = EPSILON, dtype: DTypeLike):
    self.norm = BatchNorm(channels, epsilon=epsilon, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    return nnx.relu(self.norm(x))


class ConvNorm(nnx.Module):
  """Convolution, batch norm, activation; [B, H, W, in] -> [B, H', W', out].

  Args:
    in_channels, out_channels, size, dtype, rngs: see `conv`.
    activation: applied after the batch norm.
    epsilon: of the batch norm.
    **settings: `stride`, `padding` and `groups` of `conv`.
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    size: int | tuple[int, int],
    *,
    activation: Callable[[jax.Array], jax.Array] = nnx.relu,
    epsilon: float = EPSILON,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
    **settings: Any,
  ):
    self.conv = conv(in_channels, out_channels, size, dtype=dtype, rngs=rngs, **settings)
    self.norm = BatchNorm(out_channels, epsilon=epsilon, dtype=dtype)
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.activation(self.norm(self.conv(x)))
