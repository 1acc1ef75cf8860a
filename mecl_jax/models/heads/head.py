"""What every exit head is: something that never learns, and something that does."""

from flax import nnx
import jax


class Head(nnx.Module):
  """From a feature map [B, H, W, C] to logits [B, classes], in two parts.

  The first part, `summarise`, has no parameters. Where the backbone is frozen its result is a
  constant of the image, which is computed once and kept, and is often much smaller than the map.
  """

  def summarise(self, features: jax.Array) -> jax.Array:
    """What the head makes of a feature map before anything is learnt: by default all of it."""
    return features

  def read(self, summary: jax.Array) -> jax.Array:
    """Logits [B, classes] from what `summarise` returns."""
    raise NotImplementedError

  def __call__(self, features: jax.Array) -> jax.Array:
    return self.read(self.summarise(features))
