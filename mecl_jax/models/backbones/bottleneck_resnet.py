"""ResNets for large images (He et al., "Deep Residual Learning", CVPR 2016, arXiv 1512.03385)."""

import functools
from typing import Any

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.imagenet import RESNET_EPSILON, ImageNetStem, Origin, Stem
from mecl_jax.models.layers import BatchNorm, ConvNorm, conv

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # depth: in each group
EXPANSION = 4  # channels of a block's output, in multiples of those inside


class Block(nnx.Module):
  """The bottleneck block: 1x1, 3x3 and 1x1 convolutions with batch norm, beside a shortcut.

  The stride is that of the first 1x1 convolution in the network of the paper and of Keras, of the
  3x3 one in that of PyTorch, known as v1.5. The shortcut is the input itself, or a 1x1 convolution
  with batch norm where the shape changes.
  """

  def __init__(
    self,
    in_channels: int,
    channels: int,
    *,
    stride: int,
    origin: Origin = 'keras',
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    inner = channels // EXPANSION
    epsilon = RESNET_EPSILON[origin]
    norm = functools.partial(BatchNorm, epsilon=epsilon, dtype=dtype)
    first, second = (stride, 1) if origin == 'keras' else (1, stride)
    self.conv1 = conv(in_channels, inner, 1, stride=first, dtype=dtype, rngs=rngs)
    self.norm1 = norm(inner)
    self.conv2 = conv(inner, inner, 3, stride=second, dtype=dtype, rngs=rngs)
    self.norm2 = norm(inner)
    self.conv3 = conv(inner, channels, 1, dtype=dtype, rngs=rngs)
    self.norm3 = norm(channels)
    self.projects = stride > 1 or channels != in_channels
    if self.projects:
      self.shortcut = ConvNorm(
        in_channels,
        channels,
        1,
        stride=stride,
        activation=nnx.identity,
        epsilon=epsilon,
        dtype=dtype,
        rngs=rngs,
      )

  def __call__(self, x: jax.Array) -> jax.Array:
    y = nnx.relu(self.norm1(self.conv1(x)))
    y = nnx.relu(self.norm2(self.conv2(y)))
    y = self.norm3(self.conv3(y))
    return nnx.relu(y + (self.shortcut(x) if self.projects else x))


class BottleneckResNet(Backbone):
  """A ResNet of 50, 101 or 152 layers, without its classifier.

  Four groups of blocks with 4, 8, 16 and 32 times `width` channels; all but the first halve height
  and width. The stages are `stem`, `stage1_block1`, .., `stage4_block3`. Convolutions have no bias;
  Keras's have one, which a batch norm's mean can absorb.

  Args:
    in_channels: of the images.
    depth: 50, 101 or 152, counting the classifier's layer but no shortcuts.
    stem: 'imagenet', which quarters height and width; or 'cifar', a 3x3 convolution with batch norm
      and ReLU, which leaves them alone.
    origin: whose weights it can take, Keras's (ResNet50, ..) or those of torchvision and timm.
    width: channels of the stem and inside the first group's blocks, 64 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    depth: int,
    stem: Stem = 'imagenet',
    origin: Origin = 'keras',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    settings: dict[str, Any] = {'epsilon': RESNET_EPSILON[origin], 'dtype': dtype, 'rngs': rngs}
    stages: dict[str, nnx.Module] = {
      'stem': ConvNorm(in_channels, width, 3, **settings)
      if stem == 'cifar'
      else ImageNetStem(in_channels, width, **settings)
    }
    channels = width
    for group, blocks in enumerate(BLOCKS[depth], 1):
      out_channels = EXPANSION * width * 2 ** (group - 1)
      for block in range(1, blocks + 1):
        stride = 2 if group > 1 and block == 1 else 1
        stages[f'stage{group}_block{block}'] = Block(
          channels, out_channels, stride=stride, origin=origin, dtype=dtype, rngs=rngs
        )
        channels = out_channels
    super().__init__(stages)
