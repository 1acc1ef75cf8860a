"""The layers that backbones and heads are made of."""

import math

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

  def initialise(key, shape, dtype=jnp.float32, out_sharding=None):
    del out_sharding  # a part of the signature
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    deviation = math.sqrt(gain / math.prod(shape[:-1]))
    return jnp.asarray(rng.normal(0, deviation, shape), dtype)

  return initialise


def conv3x3(
  in_channels: int, out_channels: int, *, stride: int = 1, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Conv:
  """A 3x3 convolution without bias, He-initialised; [B, H, W, in] -> [B, H/stride, W/stride, out].

  One pixel of padding on every side whatever the stride, as in the published CIFAR ResNets; 'SAME'
  would put it on the right and at the bottom only where the stride is 2. Odd sizes round up.
  """
  return nnx.Conv(
    in_channels,
    out_channels,
    (3, 3),
    stride,
    padding=1,
    use_bias=False,
    kernel_init=normal(2),
    conv_general_dilated=conv_general_dilated,
    dtype=dtype,
    param_dtype=parameter_dtype(dtype),
    rngs=rngs,
  )


def linear(in_features: int, out_features: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Linear:
  """A dense layer, [..., in] -> [..., out]; it computes in at least float32, as logits deserve."""
  dtype = parameter_dtype(dtype)
  return nnx.Linear(
    in_features, out_features, kernel_init=normal(1), dtype=dtype, param_dtype=dtype, rngs=rngs
  )


def global_average(x: jax.Array) -> jax.Array:
  """The mean over height and width, [B, H, W, C] -> [B, C], in at least float32."""
  return x.mean(axis=(1, 2), dtype=parameter_dtype(x.dtype))


class BatchNorm(nnx.Module):
  """Batch normalisation of feature maps [B, H, W, C] (Ioffe & Szegedy 2015, arXiv 1502.03167).

  Statistics are computed and kept in at least float32 whatever the dtype of the input, in training
  and in evaluation alike; a batch that is split over devices is one batch. The variance is the
  biased one, in the normalisation and in the moving average.

  Attributes:
    scale, bias: nnx.Param [C].
    mean, var: nnx.BatchStat [C], the moving averages.
    use_running_average: normalise with the moving averages and leave them alone, instead of with
      the batch's own; `set_trainable`, `train()` and `eval()` switch it.
  """

  def __init__(self, channels: int, *, dtype: DTypeLike):
    dtype = parameter_dtype(dtype)
    self.scale = nnx.Param(jnp.ones(channels, dtype))
    self.bias = nnx.Param(jnp.zeros(channels, dtype))
    self.mean = nnx.BatchStat(jnp.zeros(channels, dtype))
    self.var = nnx.BatchStat(jnp.ones(channels, dtype))
    self.use_running_average = True

  def __call__(self, x: jax.Array) -> jax.Array:
    # A row of a feature map at once, [.., W * C]: the sums over the batch, those of the backward
    # pass among them, then run along long rows; over few channels they are slow on the CPU.
    width, channels = x.shape[-2:]
    rows = x.reshape(-1, width * channels).astype(self.mean.dtype)
    if self.use_running_average:
      mean, var = self.mean[...], self.var[...]
    else:
      mean, var = _moments(rows, channels)
      self.mean[...] = _moved(self.mean[...], mean)
      self.var[...] = _moved(self.var[...], var)
    factor = self.scale[...] * jax.lax.rsqrt(var + EPSILON)
    offset = self.bias[...] - mean * factor
    y = rows * jnp.tile(factor, width) + jnp.tile(offset, width)
    return y.reshape(x.shape).astype(x.dtype)


def _moments(rows: jax.Array, channels: int) -> tuple[jax.Array, jax.Array]:
  """Mean and variance per channel, [C] each, of rows [N, W * C]."""

  def average(rows):
    return rows.mean(0).reshape(-1, channels).mean(0)

  mean = average(rows)
  # Rounding can make the difference negative.
  return mean, jnp.maximum(average(jnp.square(rows)) - jnp.square(mean), 0)


def _moved(average: jax.Array, new: jax.Array) -> jax.Array:
  return MOMENTUM * average + (1 - MOMENTUM) * jax.lax.stop_gradient(new)
