"""InceptionV3.

References:
  Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, arXiv
  1512.00567.
"""

from typing import Any

from flax import nnx
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.imagenet import Origin, Stem, scaled
from mecl_jax.models.backbones.inception_blocks import (
  EPSILON,
  Branches,
  Mixed,
  PooledConv,
  PooledMixed,
)
from mecl_jax.models.layers import ConvNorm

STEM = (32, 32, 64, 80, 192)  # channels of the convolutions
ROW, COLUMN = (1, 7), (7, 1)
SPLIT = (1, 3), (3, 1)  # two kernels with the same input


def _first(pooled: int) -> Branches:
  return {
    'branch1x1': ((64, 1),),
    'branch5x5': ((48, 1), (64, 5)),
    'branch3x3dbl': ((64, 1), (96, 3), (96, 3)),
    'branch_pool': ((pooled, 1),),
  }


def _second(inner: int) -> Branches:
  return {
    'branch1x1': ((192, 1),),
    'branch7x7': ((inner, 1), (inner, ROW), (192, COLUMN)),
    'branch7x7dbl': ((inner, 1), (inner, COLUMN), (inner, ROW), (inner, COLUMN), (192, ROW)),
    'branch_pool': ((192, 1),),
  }


TO_SECOND: Branches = {
  'branch3x3': ((384, 3),),
  'branch3x3dbl': ((64, 1), (96, 3), (96, 3)),
  'branch_pool': (),
}
TO_THIRD: Branches = {
  'branch3x3': ((192, 1), (320, 3)),
  'branch7x7x3': ((192, 1), (192, ROW), (192, COLUMN), (192, 3)),
  'branch_pool': (),
}
THIRD: Branches = {
  'branch1x1': ((320, 1),),
  'branch3x3': ((384, 1), (384, *SPLIT)),
  'branch3x3dbl': ((448, 1), (384, 3), (384, *SPLIT)),
  'branch_pool': ((192, 1),),
}
GROUPS = (
  (_first(32), _first(64), _first(64)),
  (TO_SECOND, _second(128), _second(160), _second(160), _second(192)),
  (TO_THIRD, THIRD, THIRD),
)


class InceptionV3(Backbone):
  """InceptionV3 without its final and auxiliary classifiers.

  The stages are the convolutions `stem_block1`, .., `stem_block5` and the blocks `stage1_block1`,
  .., `stage1_block3`, `stage2_block1`, .., `stage2_block5` and `stage3_block1`, ..,
  `stage3_block3`. The first block of the second and third group halves height and width. Pooling is
  the beginning of a stage, not the end of the stage before it; an exit therefore gets the feature
  map before pooling. Most convolutions of the stem and those that halve the size have no padding:
  the smallest image is 75x75, or 13x13 with stem 'cifar'.

  Args:
    in_channels: channels of the images.
    stem: 'imagenet', which divides height and width by 8; or 'cifar', where the first convolution
      has stride 1 and both poolings are left out, so that height and width lose six pixels only.
    origin: publisher of compatible weights: 'keras' or 'torch' (torchvision). They differ in
      whether the average of a `branch_pool` includes the padding.
    width: channels of the first convolution, 32 in the paper; all others are scaled with it.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    stem: Stem = 'imagenet',
    origin: Origin = 'keras',
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    stages = _stem_stages(in_channels, stem=stem, width=width, dtype=dtype, rngs=rngs)
    channels = scaled(STEM[-1], width)
    for group, blocks in enumerate(GROUPS, 1):
      for block, branches in enumerate(blocks, 1):
        pooled = stem == 'imagenet' and group == block == 1
        kind = PooledMixed if pooled else Mixed
        stage = kind(channels, branches, origin=origin, width=width, dtype=dtype, rngs=rngs)
        stages[f'stage{group}_block{block}'] = stage
        channels = stage.channels
    super().__init__(stages)


def _stem_stages(
  in_channels: int, *, stem: Stem, width: int, dtype: DTypeLike, rngs: nnx.Rngs
) -> dict[str, nnx.Module]:
  stride, pooled = (1, ConvNorm) if stem == 'cifar' else (2, PooledConv)
  common: dict[str, Any] = {'epsilon': EPSILON, 'dtype': dtype, 'rngs': rngs}
  one, two, three, four, five = (scaled(channels, width) for channels in STEM)
  return {
    'stem_block1': ConvNorm(in_channels, one, 3, stride=stride, padding=0, **common),
    'stem_block2': ConvNorm(one, two, 3, padding=0, **common),
    'stem_block3': ConvNorm(two, three, 3, **common),
    'stem_block4': pooled(three, four, 1, **common),
    'stem_block5': ConvNorm(four, five, 3, padding=0, **common),
  }
