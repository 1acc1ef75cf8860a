"""What the networks for ImageNet have in common: their stems, their widths, and the settings in
which the published weights of Keras and of PyTorch differ."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from flax import nnx
import jax
from jax.typing import DTypeLike

from mecl_jax.models.layers import ConvNorm

Stem = Literal['cifar', 'imagenet']

# Whose published weights a network can take: those of keras.applications, or those of torchvision
# and timm. Padding and epsilon are part of a network: with those of the other, its numbers differ.
Origin = Literal['keras', 'torch']
SETTINGS: dict[Origin, dict[str, Any]] = {  # of `ConvNorm`, in MobileNets and EfficientNets
  'keras': {'padding': 'SAME', 'epsilon': 1e-3},
  'torch': {'padding': None, 'epsilon': 1e-5},
}
RESNET_EPSILON: dict[Origin, float] = {'keras': 1.001e-5, 'torch': 1e-5}  # DenseNets have it too

WIDTH = 32  # channels of the published stems to which `scaled` refers


def scaled(channels: int, width: int) -> int:
  """Published channels for a stem of `width` of them in place of 32; rounded, at least 1."""
  return max(1, round(channels * width / WIDTH))


class ImageNetStem(nnx.Module):
  """7x7 convolution, batch norm, ReLU, 3x3 max pooling; [B, H, W, in] -> [B, H/4, W/4, out].

  Three pixels of padding and one, on every side, as in the published networks of Keras and PyTorch.
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
    return nnx.max_pool(self.conv(x), (3, 3), (2, 2), ((1, 1), (1, 1)))


def grouped_stages(
  in_channels: int,
  groups: Sequence[tuple[int, ...]],
  *,
  make_conv: Callable[..., nnx.Module],
  make_block: Callable[..., nnx.Module],
  stem: Stem,
  width: int,
) -> tuple[dict[str, nnx.Module], int]:
  """The stages of a MobileNet or EfficientNet: `stem`, `stage1_block1`, `stage2_block1`, ...

  Args:
    in_channels: of the images.
    groups: of equal blocks, each (.., published channels, blocks, stride); the stride is that of
      its first block, and what comes before is handed to `make_block`.
    make_conv: (in_channels, channels, size, *, stride) -> stage, for the stem.
    make_block: (in_channels, channels, .., *, stride) -> stage.
    stem: its stride is 1 for 'cifar', 2 for 'imagenet'.
    width: channels of the stem; those of the groups are scaled alike.

  Returns:
    stage name -> stage, first to last; and the channels of the last.
  """
  stages = {'stem': make_conv(in_channels, width, 3, stride=1 if stem == 'cifar' else 2)}
  channels = width
  for group, (*kind, published, blocks, stride) in enumerate(groups, 1):
    out_channels = scaled(published, width)
    for block in range(1, blocks + 1):
      stages[f'stage{group}_block{block}'] = make_block(
        channels, out_channels, *kind, stride=stride if block == 1 else 1
      )
      channels = out_channels
  return stages, channels
