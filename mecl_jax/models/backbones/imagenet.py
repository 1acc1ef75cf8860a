"""Parts that the backbones for ImageNet share: stems, widths, and the settings of publishers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import add_groups
from mecl_jax.models.layers import ConvNorm

Stem = Literal['cifar', 'imagenet']

# Publisher of the weights that a network is compatible with: keras.applications ('keras'), or
# torchvision and timm ('torch'). They differ in padding and epsilon, which change the logits.
Origin = Literal['keras', 'torch']
SETTINGS: dict[Origin, dict[str, Any]] = {  # arguments of `ConvNorm` in MobileNet and EfficientNet
  'keras': {'padding': 'SAME', 'epsilon': 1e-3},
  'torch': {'padding': None, 'epsilon': 1e-5},
}
RESNET_EPSILON: dict[Origin, float] = {'keras': 1.001e-5, 'torch': 1e-5}  # DenseNet as well

WIDTH = 32  # channels of the published stems of MobileNet, EfficientNet and Inception


def scaled(channels: int, width: int) -> int:
  """Returns channels * width / 32, rounded and at least 1, to scale a published network."""
  return max(1, round(channels * width / WIDTH))


class ImageNetStem(nnx.Module):
  """7x7 convolution, batch norm, ReLU, 3x3 max pooling; [B, H, W, in] -> [B, H/4, W/4, out].

  The convolution has three pixels of padding on every side and the pooling one, as in the published
  networks of Keras and PyTorch.
  """

  def __init__(
    self,
    in_channels: int,
    channels: int,
    *,
    epsilon: float = RESNET_EPSILON['keras'],
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    self.conv = ConvNorm(
      in_channels, channels, 7, stride=2, epsilon=epsilon, dtype=dtype, rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    x = jnp.pad(self.conv(x), ((0, 0), (1, 1), (1, 1), (0, 0)))  # after a ReLU, 0 is the least
    return nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2))


def grouped_stages(
  in_channels: int,
  groups: Sequence[tuple[int, ...]],
  *,
  make_conv: Callable[..., nnx.Module],
  make_block: Callable[..., nnx.Module],
  stem: Stem,
  width: int,
) -> tuple[dict[str, nnx.Module], int]:
  """Makes the stages of a MobileNet or EfficientNet: `stem`, `stage1_block1`, and so on.

  Args:
    in_channels: channels of the images.
    groups: (.., published channels, blocks, stride) of every group; see `add_groups`.
    make_conv: (in_channels, channels, size, *, stride) -> stage, for the stem.
    make_block: (in_channels, channels, .., *, stride) -> stage.
    stem: 'cifar' with stride 1, or 'imagenet' with stride 2.
    width: channels of the stem, 32 in the papers; the channels of the groups are scaled with it.

  Returns:
    stage name -> stage, first to last; and the channels of the last stage.
  """
  stages = {'stem': make_conv(in_channels, width, 3, stride=1 if stem == 'cifar' else 2)}
  scaled_groups = [
    (*kind, scaled(channels, width), blocks, stride) for *kind, channels, blocks, stride in groups
  ]
  return stages, add_groups(stages, width, scaled_groups, make_block)
