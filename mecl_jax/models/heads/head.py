"""The base class of exit heads."""

from flax import nnx
import jax


class Head(nnx.Module):
  """A module from a feature map [B, H, W, C] to logits [B, classes], in two parts.

  The first part, `summarise`, has no parameters. With a frozen backbone its result is a constant of
  the image, so it is computed once and cached. It is often much smaller than the feature map. The
  second part, `read`, is `embed` and a dense layer.

  Attributes:
    linear: the last dense layer.
  """

  linear: nnx.Linear

  def summarise(self, features: jax.Array) -> jax.Array:
    """Returns the result of the part without parameters; by default the feature map itself."""
    return features

  def embed(self, summary: jax.Array) -> jax.Array:
    """Returns the inputs of the last dense layer, [B, N], from the result of `summarise`."""
    raise NotImplementedError

  def answer(self, embedded: jax.Array) -> jax.Array:
    """Returns logits [B, classes] from the result of `embed`."""
    return self.linear(embedded)

  def read(self, summary: jax.Array) -> jax.Array:
    """Returns logits [B, classes] from the result of `summarise`."""
    return self.answer(self.embed(summary))

  def __call__(self, features: jax.Array) -> jax.Array:
    return self.read(self.summarise(features))
