"""A head that also sees what the exit before it said."""

from collections.abc import Callable

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.heads.convolutional import Shape
from mecl_jax.models.heads.head import Head
from mecl_jax.models.layers import linear, parameter_dtype


class CascadeHead(nnx.Module):
  """Any head, to whose logits come a linear function of the normalised logits of the exit before.

  That is the head with those logits as further inputs of its last dense layer, written as a sum.
  No gradient flows into the exit before: it is trained by its own loss alone (Zero Time Waste,
  Wolczyk et al., NeurIPS 2021, arXiv 2106.05409).

  Args:
    make: of the head itself; takes the arguments that follow.
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
    """As of the head itself."""
    return self.head.summarise(features)

  def read(self, summary: jax.Array, before: jax.Array) -> jax.Array:
    """Logits [B, classes] from a summary and the logits [B, classes] of the exit before."""
    seen = self.norm(jax.lax.stop_gradient(before))
    return self.head.read(summary) + self.linear(seen)

  def __call__(self, features: jax.Array, before: jax.Array) -> jax.Array:
    """Logits [B, classes] from a feature map and the logits [B, classes] of the exit before."""
    return self.read(self.summarise(features), before)
