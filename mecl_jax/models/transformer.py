"""Layers that the transformer backbones and heads share."""

from collections.abc import Callable

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.layers import dense, normal, parameter_dtype

EPSILON = 1e-6  # added to the variance by layer norm


def layer_norm(size: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.LayerNorm:
  """Makes a layer norm over the last axis, with statistics in at least float32."""
  return nnx.LayerNorm(
    size, epsilon=EPSILON, dtype=dtype, param_dtype=parameter_dtype(dtype), rngs=rngs
  )


def positions(count: int, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Param:
  """Makes position embeddings [count, width], normal with the usual standard deviation of 0.02."""
  draw = normal(4e-4 * count)
  return nnx.Param(draw(rngs.params(), (count, width), parameter_dtype(dtype)))


def with_token(tokens: jax.Array, token: jax.Array, embeddings: jax.Array) -> jax.Array:
  """Puts the class token before all others and adds position embeddings.

  Args:
    tokens: [B, N, D], in the compute dtype.
    token: [1, 1, D], the class token.
    embeddings: [1 + N, D], the position embeddings.

  Returns:
    [B, 1 + N, D], in the compute dtype.
  """
  token = jnp.broadcast_to(token.astype(tokens.dtype), (tokens.shape[0], 1, tokens.shape[-1]))
  return jnp.concatenate([token, tokens], axis=1) + embeddings.astype(tokens.dtype)


class MLP(nnx.Module):
  """Two dense layers with an activation between them; [.., size] -> [.., hidden] -> [.., size]."""

  def __init__(
    self,
    size: int,
    hidden: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = nnx.gelu,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    self.grow = dense(size, hidden, gain=2, dtype=dtype, rngs=rngs)
    self.shrink = dense(hidden, size, dtype=dtype, rngs=rngs)
    self.activation = activation

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.shrink(self.activation(self.grow(x)))
