"""ResNets for small images (He et al., "Deep Residual Learning", CVPR 2016, arXiv 1512.03385)."""

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import BatchNorm, conv3x3


class Stem(nnx.Module):
  """Convolution, batch norm, ReLU; [B, H, W, in] -> [B, H, W, out]."""

  def __init__(self, in_channels: int, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.conv = conv3x3(in_channels, channels, dtype=dtype, rngs=rngs)
    self.norm = BatchNorm(channels, dtype=dtype)

  def __call__(self, x: jax.Array) -> jax.Array:
    return nnx.relu(self.norm(self.conv(x)))


class Block(nnx.Module):
  """The basic residual block: two 3x3 convolutions beside a shortcut without parameters.

  Where the size halves and the channels grow, the shortcut takes every second pixel and fills the
  new channels with zeros ("option A" of the paper).
  """

  def __init__(
    self, in_channels: int, channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.conv1 = conv3x3(in_channels, channels, stride=stride, dtype=dtype, rngs=rngs)
    self.norm1 = BatchNorm(channels, dtype=dtype)
    self.conv2 = conv3x3(channels, channels, dtype=dtype, rngs=rngs)
    self.norm2 = BatchNorm(channels, dtype=dtype)
    self.stride = stride
    self.new_channels = channels - in_channels

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    shortcut = x[:, :: self.stride, :: self.stride]
    return nnx.relu(y + jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, self.new_channels))))


class ResNet(Backbone):
  """A CIFAR ResNet of 6n + 2 layers, without its classifier.

  Three groups of n blocks with `width`, 2 and 4 times `width` channels; the second and third halve
  height and width. The stages are `stem`, `stage1_block1`, .., `stage3_block<n>`.

  Args:
    in_channels: of the images.
    depth: 6n + 2, counting the classifier's layer.
    width: channels of the first group; 16 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
  """

  def __init__(self, in_channels: int, *, depth: int, width: int, dtype: DTypeLike, rngs: nnx.Rngs):
    stages: dict[str, nnx.Module] = {'stem': Stem(in_channels, width, dtype=dtype, rngs=rngs)}
    channels = width
    for group in (1, 2, 3):
      out_channels = width * 2 ** (group - 1)
      for block in range(1, (depth - 2) // 6 + 1):
        stages[f'stage{group}_block{block}'] = Block(
          channels, out_channels, stride=out_channels // channels, dtype=dtype, rngs=rngs
        )
        channels = out_channels
    super().__init__(stages)
