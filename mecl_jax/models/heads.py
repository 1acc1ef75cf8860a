"""Exit heads: from a feature map [B, H, W, C] to logits [B, classes].

Every head is made from the shape of its feature map, the number of classes, the `width` of the
channels inside it, the dtype of the computation and `rngs` for its initial parameters.
"""

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.layers import BatchNorm, conv3x3, global_average, linear

Shape = tuple[int, int, int]  # height, width, channels


class LinearHead(nnx.Module):
  """Global average pooling and a dense layer; it has no channels of its own."""

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    del width
    self.linear = linear(shape[-1], num_classes, dtype=dtype, rngs=rngs)

  def __call__(self, features: jax.Array) -> jax.Array:
    return self.linear(global_average(features))


class ConvHead(nnx.Module):
  """A 3x3 convolution of stride 2 to `width` channels, batch norm, ReLU; then as `LinearHead`."""

  def __init__(
    self, shape: Shape, num_classes: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.conv = conv3x3(shape[-1], width, stride=2, dtype=dtype, rngs=rngs)
    self.norm = BatchNorm(width, dtype=dtype)
    self.linear = linear(width, num_classes, dtype=dtype, rngs=rngs)

  def __call__(self, features: jax.Array) -> jax.Array:
    return self.linear(global_average(nnx.relu(self.norm(self.conv(features)))))
