"""The layers that backbones and heads are made of."""

from collections.abc import Callable
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
import numpy as np

from mecl_jax.models.convolution import conv_general_dilated

MOMENTUM = 0.9  # of the moving averages
EPSILON = 1e-5


def parameter_dtype(dtype: DTypeLike) -> jnp.dtype:
  """Of parameters and batch statistics for a compute dtype: at least float32."""
  return jnp.promote_types(dtype, jnp.float32)


def normal(gain: float) -> nnx.Initializer:
  """Initialises kernels [.., in, out] from a normal distribution of variance gain / fan-in.

  A gain of 2 suits what a ReLU follows (He et al. 2015, arXiv 1502.01852), 1 anything else. The
  numbers come from NumPy: they are the same on all devices, and nothing is compiled, where
  `jax.random` compiles a program for every shape and takes seconds before a network exists.
  """

  def draw(seed, shape, dtype):
    deviation = math.sqrt(gain / math.prod(shape[:-1]))
    return np.random.default_rng(np.asarray(seed)).normal(0, deviation, shape).astype(dtype)

  def initialise(key, shape, dtype=jnp.float32, out_sharding=None):
    del out_sharding  # a part of the signature
    seed = jax.random.key_data(key)
    if isinstance(seed, jax.core.Tracer):  # as in `nnx.eval_shape`, which draws nothing
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
  dtype: DTypeLike,
  rngs: nnx.Rngs,
) -> nnx.Conv:
  """A convolution without bias, He-initialised; [B, H, W, in] -> [B, H', W', out].

  Args:
    in_channels, out_channels: of the feature maps; both multiples of `groups`.
    size: (height, width) of the kernel [height, width, in / groups, out], or one for both.
    stride: in both directions.
    padding: pixels on every side, or 'SAME', which divides an odd number of them as TensorFlow
      does: the larger part on the right and at the bottom. None: size // 2, as PyTorch nets have.
    groups: of channels that do not see one another; `in_channels` makes it depthwise.
    dtype: of the computation; the kernel is at least float32.
    rngs: of the initial kernel.
  """
  sides = (size, size) if isinstance(size, int) else size
  return nnx.Conv(
    in_channels,
    out_channels,
    sides,
    stride,
    padding=tuple((side // 2, side // 2) for side in sides) if padding is None else padding,
    feature_group_count=groups,
    use_bias=False,
    kernel_init=normal(2),
    conv_general_dilated=conv_general_dilated,
    dtype=dtype,
    param_dtype=parameter_dtype(dtype),
    rngs=rngs,
  )


def conv3x3(
  in_channels: int, out_channels: int, *, stride: int = 1, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Conv:
  """A 3x3 convolution without bias, He-initialised; [B, H, W, in] -> [B, H/stride, W/stride, out].

  One pixel of padding on every side whatever the stride, as in the published CIFAR ResNets; 'SAME'
  would put it on the right and at the bottom only where the stride is 2. Odd sizes round up.
  """
  return conv(in_channels, out_channels, 3, stride=stride, dtype=dtype, rngs=rngs)


def linear(in_features: int, out_features: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Linear:
  """A dense layer, [..., in] -> [..., out]; it computes in at least float32, as logits deserve."""
  dtype = parameter_dtype(dtype)
  return nnx.Linear(
    in_features, out_features, kernel_init=normal(1), dtype=dtype, param_dtype=dtype, rngs=rngs
  )


def dense(
  in_features: int, out_features: int, *, gain: float = 1, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Linear:
  """A dense layer with bias that computes in `dtype`, [..., in] -> [..., out]; see `normal`."""
  return nnx.Linear(
    in_features,
    out_features,
    kernel_init=normal(gain),
    dtype=dtype,
    param_dtype=parameter_dtype(dtype),
    rngs=rngs,
  )


def global_average(x: jax.Array) -> jax.Array:
  """The mean over height and width, [B, H, W, C] -> [B, C], in at least float32."""
  return x.mean(axis=(1, 2), dtype=parameter_dtype(x.dtype))


class BatchNorm(nnx.Module):
  """Batch normalisation of feature maps [B, H, W, C] (Ioffe & Szegedy 2015, arXiv 1502.03167).

  Statistics are computed and kept in at least float32 whatever the dtype of the input, in training
  and in evaluation alike; a batch that is split over devices is one batch. The variance is the
  biased one, in the normalisation and in the moving average.

  Args:
    channels: C.
    epsilon: added to the variance; what Keras's networks have differs from the default.
    momentum: share of the old value that a moving average keeps.
    dtype: of the computation.

  Attributes:
    scale, bias: nnx.Param [C].
    mean, var: nnx.BatchStat [C], the moving averages.
    use_running_average: normalise with the moving averages and leave them alone, instead of with
      the batch's own; `set_trainable`, `train()` and `eval()` switch it.
  """

  def __init__(
    self,
    channels: int,
    *,
    epsilon: float = EPSILON,
    momentum: float = MOMENTUM,
    dtype: DTypeLike,
  ):
    dtype = parameter_dtype(dtype)
    self.scale = nnx.Param(jnp.ones(channels, dtype))
    self.bias = nnx.Param(jnp.zeros(channels, dtype))
    self.mean = nnx.BatchStat(jnp.zeros(channels, dtype))
    self.var = nnx.BatchStat(jnp.ones(channels, dtype))
    self.use_running_average = True
    self.epsilon, self.momentum = epsilon, momentum

  def __call__(self, x: jax.Array) -> jax.Array:
    # A row of a feature map at once, [.., W * C]: the sums over the batch, those of the backward
    # pass among them, then run along long rows; over few channels they are slow on the CPU.
    width, channels = x.shape[-2:]
    rows = x.reshape(-1, width * channels).astype(self.mean.dtype)
    if self.use_running_average:
      mean, var = self.mean[...], self.var[...]
    else:
      mean, var = _moments(rows, channels)
      self.mean[...] = self._moved(self.mean[...], mean)
      self.var[...] = self._moved(self.var[...], var)
    factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
    offset = self.bias[...] - mean * factor
    y = rows * jnp.tile(factor, width) + jnp.tile(offset, width)
    return y.reshape(x.shape).astype(x.dtype)

  def _moved(self, average: jax.Array, new: jax.Array) -> jax.Array:
    return self.momentum * average + (1 - self.momentum) * jax.lax.stop_gradient(new)


def _moments(rows: jax.Array, channels: int) -> tuple[jax.Array, jax.Array]:
  """Mean and variance per channel, [C] each, of rows [N, W * C]."""

  def average(rows):
    return rows.mean(0).reshape(-1, channels).mean(0)

  mean = average(rows)
  # Rounding can make the difference negative.
  return mean, jnp.maximum(average(jnp.square(rows)) - jnp.square(mean), 0)


class NormReLU(nnx.Module):
  """Batch norm and ReLU, as at the end of a pre-activation network; [B, H, W, C] -> the same."""

  def __init__(self, channels: int, *, epsilon: float = EPSILON, dtype: DTypeLike):
    self.norm = BatchNorm(channels, epsilon=epsilon, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    return nnx.relu(self.norm(x))


class ConvNorm(nnx.Module):
  """Convolution, batch norm, activation; [B, H, W, in] -> [B, H', W', out].

  Args:
    activation: what follows the norm.
    epsilon: of the batch norm.
    others: as of `conv`; `settings` are its stride, padding and groups.
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
