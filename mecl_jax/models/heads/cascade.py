"""Heads that also use the logits of the exit before."""

from collections.abc import Callable

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.heads.convolutional import Shape
from mecl_jax.models.heads.head import Head
from mecl_jax.models.layers import linear, parameter_dtype


class CascadeHead(nnx.Module):
  """A head plus a linear function of the normalised logits of the exit before.

  The sum is equivalent to using these logits as additional inputs of the last dense layer of the
  head. No gradient flows into the exit before; it is trained by its own loss only.

  Args:
    shape: (height, width, channels) of the feature map.
    num_classes: number of classes.
    make: class of the head; called with the other arguments.
    width: channels inside the head.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.

  References:
    Wolczyk et al., "Zero Time Waste: Recycling Predictions in Early Exit Neural Networks", NeurIPS
    2021, arXiv 2106.05409.
  """

  def __init__(
    self,
    shape: Shape,
    num_classes: int,
    *,
    make: Callable[..., Head],
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    self.head = make(shape, num_classes, width=width, dtype=dtype, rngs=rngs)
    parameters = parameter_dtype(dtype)
    self.norm = nnx.LayerNorm(num_classes, dtype=parameters, param_dtype=parameters, rngs=rngs)
    self.linear = linear(num_classes, num_classes, dtype=dtype, rngs=rngs)

  def summarise(self, features: jax.Array) -> jax.Array:
    """Returns the result of `Head.summarise` of the inner head."""
    return self.head.summarise(features)

  def embed(self, summary: jax.Array) -> jax.Array:
    """Returns the result of `Head.embed` of the inner head."""
    return self.head.embed(summary)

  def answer(self, embedded: jax.Array, before: jax.Array) -> jax.Array:
    """Returns logits [B, classes] from the result of `embed` and those of the exit before."""
    return self._added(self.head.answer(embedded), before)

  def read(self, summary: jax.Array, before: jax.Array) -> jax.Array:
    """Returns logits [B, classes] from a summary and the logits [B, classes] of the exit before."""
    return self._added(self.head.read(summary), before)

  def _added(self, logits: jax.Array, before: jax.Array) -> jax.Array:
    return logits + self.linear(self.norm(jax.lax.stop_gradient(before)))

  def __call__(self, features: jax.Array, before: jax.Array) -> jax.Array:
    """Returns logits from a feature map and the logits [B, classes] of the exit before."""
    return self.read(self.summarise(features), before)
