"""Multi-scale dense networks for small images.

References:
  Huang et al., "Multi-Scale Dense Networks for Resource Efficient Image Classification", ICLR 2018,
  arXiv 1703.09844.
"""

from collections.abc import Sequence
import math

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.layers import ConvNorm
from mecl_jax.models.named import Named

Scales = tuple[jax.Array, ...]  # feature maps, finest first; each has half of the size before it

WIDTH = 16  # channels of the finest scale in the published stems; growth is relative to it


def even_blocks(groups: int, *, base: int, step: int) -> tuple[int, ...]:
  """Returns the layers per group: `base` in the first group, `step` in the others."""
  return base, *(step,) * (groups - 1)


def growing_blocks(groups: int) -> tuple[int, ...]:
  """Returns the layers per group: 1, 2, 3, .."""
  return tuple(range(1, groups + 1))


# name: layers per group and growth. The paper has an exit at the end of every group, with the head
# `msdnet` of 128 channels.
MSDNETS = {
  'msdnet3': (even_blocks(3, base=2, step=1), 6),  # a small network for experiments, not published
  # For budgeted batch classification, from 10 layers; the authors' code has 5 and 7 groups.
  'msdnet4_growing': (growing_blocks(4), 6),
  'msdnet5_growing': (growing_blocks(5), 6),
  'msdnet7_growing': (growing_blocks(7), 6),
  # For anytime classification; the authors' code has 7 groups (PyTorch) and 10 groups (Lua).
  'msdnet7': (even_blocks(7, base=4, step=2), 6),
  'msdnet10': (even_blocks(10, base=4, step=2), 6),
  # The baseline of later papers on CIFAR-100.
  'msdnet7_16': (even_blocks(7, base=4, step=2), 16),
}


def scales_after(layer: int, layers: int, scales: int) -> range:
  """Returns the scales that remain after a layer.

  The layers are divided into as many parts of equal length as there are scales. The first layer of
  every part except the first drops the finest remaining scale.

  Args:
    layer: number of the layer, from 1; 0 is the stem.
    layers: number of layers.
    scales: number of scales.

  Returns:
    range of scales, 0 is the finest.
  """
  return range(max(0, layer - 1) // math.ceil(layers / scales), scales)


class Stem(nnx.Module):
  """A chain of 3x3 convolutions, one for every scale; [B, H, W, in] -> `Scales`."""

  def __init__(
    self, in_channels: int, channels: int, scales: int, *, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.count = scales
    stages = {}
    for scale in range(scales):
      out_channels, stride = channels * 2**scale, 2 if scale else 1
      stages[_name(scale)] = ConvNorm(
        in_channels, out_channels, 3, stride=stride, dtype=dtype, rngs=rngs
      )
      in_channels = out_channels
    self.scales = Named(stages)

  def __call__(self, x: jax.Array) -> Scales:
    maps = []
    for scale in range(self.count):
      x = self.scales[_name(scale)](x)
      maps.append(x)
    return tuple(maps)


class Bottleneck(nnx.Module):
  """A 1x1 and a 3x3 convolution, each with batch norm and ReLU.

  The first has `factor` times as many channels as the output, but not more than the input.
  """

  def __init__(
    self,
    in_channels: int,
    channels: int,
    *,
    factor: int,
    stride: int = 1,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    inner = min(in_channels, factor * channels)
    self.reduce = ConvNorm(in_channels, inner, 1, dtype=dtype, rngs=rngs)
    self.conv = ConvNorm(inner, channels, 3, stride=stride, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.conv(self.reduce(x))


class DenseScale(nnx.Module):
  """One scale of a dense layer; new channels are appended to those of the input.

  If the layer has a finer scale, one half of the new channels are computed from that scale, with
  stride 2. Channels, growth and bottlenecks are 2**scale times those of the finest scale.
  """

  def __init__(
    self,
    channels: int,
    growth: int,
    *,
    scale: int,
    sees_finer: bool,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    factor = 2**scale
    new = growth * factor // (2 if sees_finer else 1)
    if sees_finer:
      self.down = Bottleneck(
        channels * factor // 2, new, factor=factor // 2, stride=2, dtype=dtype, rngs=rngs
      )
    self.same = Bottleneck(channels * factor, new, factor=factor, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array, finer: jax.Array | None) -> jax.Array:
    down = () if finer is None else (self.down(finer),)
    return jnp.concatenate([x, *down, self.same(x)], axis=-1)


class Layer(nnx.Module):
  """A dense layer over several scales; `Scales` -> `Scales`.

  If it drops the finest scale, it still uses that scale as input.

  Args:
    channels, growth: input and new channels of the finest scale of the network.
    taken, left: scales of the input and of the output, 0 is the finest.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(
    self,
    channels: int,
    growth: int,
    *,
    taken: range,
    left: range,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    self.taken, self.left = taken, left
    self.scales = Named(
      {
        _name(scale): DenseScale(
          channels, growth, scale=scale, sees_finer=scale - 1 in taken, dtype=dtype, rngs=rngs
        )
        for scale in left
      }
    )

  def __call__(self, x: Scales) -> Scales:
    maps = dict(zip(self.taken, x, strict=True))
    return tuple(self.scales[_name(scale)](maps[scale], maps.get(scale - 1)) for scale in self.left)


class Transition(nnx.Module):
  """A 1x1 convolution with batch norm and ReLU for every scale; it reduces the channels."""

  def __init__(
    self, in_channels: int, channels: int, scales: range, *, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.left = scales
    self.scales = Named(
      {
        _name(scale): ConvNorm(
          in_channels * 2**scale, channels * 2**scale, 1, dtype=dtype, rngs=rngs
        )
        for scale in scales
      }
    )

  def __call__(self, x: Scales) -> Scales:
    pairs = zip(self.left, x, strict=True)
    return tuple(self.scales[_name(scale)](each) for scale, each in pairs)


def _name(scale: int) -> str:
  return f'scale{scale}'


class MSDNet(Backbone):
  """A multi-scale dense network without its classifiers.

  The stages are `stem` and groups of dense layers, `stage1_block1`, and so on. They return all
  remaining scales; the last and coarsest is the feature map for heads. The layers are divided into
  as many parts as there are scales. The first layer of every part except the first drops the finest
  scale and is followed by a transition that halves the channels, `stage<group>_transition1`, then
  `stage<group>_transition2`. The published exits are at the ends of the groups, `stage1`, `stage2`,
  and so on (after a transition at the end of the group), and at the last stage.

  Args:
    in_channels: channels of the images.
    blocks: layers in each group, see `even_blocks` and `growing_blocks`.
    growth: channels that a layer adds to the finest scale if the width is 16; scaled with `width`.
    scales: number of scales.
    width: channels of the finest scale after the stem; 16 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    blocks: Sequence[int],
    growth: int = 6,
    scales: int = 3,
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    growth = max(1, round(growth * width / WIDTH))
    stages: dict[str, nnx.Module] = {
      'stem': Stem(in_channels, width, scales, dtype=dtype, rngs=rngs)
    }
    channels, layer, taken = width, 0, range(scales)
    for group, size in enumerate(blocks, 1):
      for block in range(1, size + 1):
        layer += 1
        left = scales_after(layer, sum(blocks), scales)
        stages[f'stage{group}_block{block}'] = Layer(
          channels, growth, taken=taken, left=left, dtype=dtype, rngs=rngs
        )
        channels += growth
        if left != taken:
          transition = Transition(channels, channels // 2, left, dtype=dtype, rngs=rngs)
          stages[f'stage{group}_transition{left[0]}'] = transition
          channels //= 2
        taken = left
    super().__init__(stages)
