"""Exit heads that exchange information between patches of the feature map.

The heads have the arguments of those in `convolutional.py`. The number of patches is at most 8x8,
which limits the cost of a head on a large feature map.
"""

import math

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.heads.convolutional import Shape
from mecl_jax.models.heads.head import Head
from mecl_jax.models.layers import linear, normal, parameter_dtype
from mecl_jax.models.transformer import MLP, layer_norm, positions, with_token

SIDE = 8  # maximum number of patches along each side
EXPANSION = 2  # hidden size of an MLP, in multiples of its input


class Patches(nnx.Module):
  """A convolution whose stride is its size; [B, H, W, C] -> tokens [B, patches, width].

  Attributes:
    count: number of patches.
  """

  def __init__(self, shape: Shape, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    size = tuple(math.ceil(side / SIDE) for side in shape[:2])
    self.count = math.prod(math.ceil(s / p) for s, p in zip(shape[:2], size, strict=True))
    self.project = nnx.Conv(
      shape[-1],
      width,
      size,
      size,
      kernel_init=normal(1),
      dtype=dtype,
      param_dtype=parameter_dtype(dtype),
      rngs=rngs,
    )

  def __call__(self, features: jax.Array) -> jax.Array:
    tokens = self.project(features)
    return tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])


class ViTHead(Head):
  """One transformer layer over patches, and a dense layer on the class token.

  Patches with `width` channels, a class token and position embeddings are the input of one layer of
  attention and MLP, each with a layer norm before it and a shortcut. A layer norm and a dense layer
  on the class token follow.

  References:
    Bakhtiarnia, Zhang and Iosifidis, "Single-Layer Vision Transformers for More Accurate Early
    Exits with Less Overhead", 2021, arXiv 2105.09121.
  """

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.patches = Patches(shape, width, dtype=dtype, rngs=rngs)
    parameters = parameter_dtype(dtype)
    self.token = nnx.Param(jnp.zeros((1, 1, width), parameters))
    self.positions = positions(self.patches.count + 1, width, dtype=dtype, rngs=rngs)
    self.norm1 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.attention = nnx.MultiHeadAttention(
      # Heads have two channels or more; attention over a single channel is of little use.
      next((heads for heads in (4, 3, 2) if width % heads == 0 and width > heads), 1),
      width,
      kernel_init=normal(1),
      decode=False,
      dtype=dtype,
      param_dtype=parameters,
      rngs=rngs,
    )
    self.norm2 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.mlp = MLP(width, EXPANSION * width, dtype=dtype, rngs=rngs)
    self.norm3 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.linear = linear(width, num_classes, dtype=dtype, rngs=rngs)

  def embed(self, summary: jax.Array) -> jax.Array:
    x = self.patches(summary)
    x = with_token(x, self.token[...], self.positions[...])
    x = x + self.attention(self.norm1(x))
    x = x + self.mlp(self.norm2(x))
    return self.norm3(x[:, 0])


class MixerHead(Head):
  """One MLP-Mixer layer over patches, and a dense layer on their mean.

  Patches with `width` channels are the input of an MLP over the patches and an MLP over the
  channels, each with a layer norm before it and a shortcut. A layer norm, the mean over the patches
  and a dense layer follow.

  References:
    Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, arXiv
    2105.01601.
  """

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.patches = Patches(shape, width, dtype=dtype, rngs=rngs)
    self.norm1 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.between_patches = MLP(
      self.patches.count, EXPANSION * self.patches.count, dtype=dtype, rngs=rngs
    )
    self.norm2 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.between_channels = MLP(width, EXPANSION * width, dtype=dtype, rngs=rngs)
    self.norm3 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.linear = linear(width, num_classes, dtype=dtype, rngs=rngs)

  def embed(self, summary: jax.Array) -> jax.Array:
    x = self.patches(summary)
    x = x + self.between_patches(self.norm1(x).swapaxes(1, 2)).swapaxes(1, 2)
    x = x + self.between_channels(self.norm2(x))
    return self.norm3(x).mean(axis=1, dtype=parameter_dtype(x.dtype))
