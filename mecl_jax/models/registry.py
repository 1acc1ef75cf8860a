"""Backbones, heads, stems and dtypes by their names in a configuration.

A new backbone or head needs one file, and one line here.
"""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import math
from typing import Any

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.densenet import IMAGENET_BLOCKS, DenseNet, cifar_blocks
from mecl_jax.models.backbones.efficientnet import LITE, EfficientNet
from mecl_jax.models.backbones.imagenet import WIDTH, Origin, Stem
from mecl_jax.models.backbones.imagenet_resnet import BLOCKS as RESNET_BLOCKS
from mecl_jax.models.backbones.imagenet_resnet import BOTTLENECKS, ImageNetResNet
from mecl_jax.models.backbones.inception import InceptionV3
from mecl_jax.models.backbones.mobilenet import MobileNetV1, MobileNetV2
from mecl_jax.models.backbones.msdnet import MSDNETS, MSDNet
from mecl_jax.models.backbones.resnet import ResNet
from mecl_jax.models.backbones.speedrun import Speedrun
from mecl_jax.models.backbones.vgg import GROUPS as VGG_GROUPS
from mecl_jax.models.backbones.vgg import VGG
from mecl_jax.models.backbones.vit import ViT
from mecl_jax.models.backbones.wide_resnet import WideResNet
from mecl_jax.models.heads.cascade import CascadeHead
from mecl_jax.models.heads.convolutional import (
  ConvHead,
  LinearHead,
  MaxPoolHead,
  MixedPoolHead,
  MLPHead,
  MSDNetHead,
  SeparableHead,
)
from mecl_jax.models.heads.head import Head
from mecl_jax.models.heads.tokens import MixerHead, ViTHead


@dataclasses.dataclass(frozen=True)
class BackboneEntry:
  """A factory of one backbone: (in_channels, *, width, dtype, rngs) -> backbone.

  Attributes:
    make: class of the backbone; it has the arguments of the entry, and `stem` if the backbone has
      several stems. Its `width` has the meaning that is documented in the class.
    published: `width` of the published network, in the meaning of `make`.
    smallest: height and width of the smallest valid image, in pixels.
    stem: 'imagenet', for large images; 'cifar', which keeps the size of small images; or None if
      the backbone has one stem only.
    final_head: name of the head of the final exit, the classifier of the published network.
  """

  make: Callable[..., Backbone]
  published: int = 16
  smallest: int = 8
  stem: Stem | None = None
  final_head: str = 'linear'

  def __call__(self, in_channels: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs) -> Backbone:
    """Makes the backbone.

    Args:
      in_channels: channels of the images.
      width: 16 for the published network of any backbone; another value scales its channels by
        width / 16, rounded and at least 1. For CIFAR ResNets it is the channels of the first stage.
        For a DenseNet it scales the growth rate.
      dtype: of the computation; parameters are at least float32.
      rngs: random keys of the initial parameters.
    """
    stem = {} if self.stem is None else {'stem': self.stem}
    scaled = max(1, round(self.published * width / 16))
    return self.make(in_channels, width=scaled, dtype=dtype, rngs=rngs, **stem)

  def with_stem(self, stem: Stem) -> 'BackboneEntry':
    """Returns the entry with another stem."""
    if stem == self.stem:
      return self
    side = math.ceil(self.smallest / 4) if stem == 'cifar' else 4 * self.smallest
    return dataclasses.replace(self, stem=stem, smallest=side)


def _for_imagenet(
  make: Callable[..., Backbone], *, published: int, smallest: int = 32
) -> BackboneEntry:
  return BackboneEntry(make, published, smallest, stem='imagenet')


def _resnets() -> Iterator[tuple[str, BackboneEntry]]:
  for depth in (8, 14, 20, 32, 44, 56, 110):
    yield f'resnet{depth}', BackboneEntry(functools.partial(ResNet, depth=depth))


def _wide_resnets() -> Iterator[tuple[str, BackboneEntry]]:
  for depth, factor in ((10, 1), (16, 4), (16, 8), (28, 10), (40, 4)):
    make = functools.partial(WideResNet, depth=depth, factor=factor)
    yield f'wrn{depth}_{factor}', BackboneEntry(make)


def _densenets() -> Iterator[tuple[str, BackboneEntry]]:
  for depth, growth in ((40, 12), (100, 12)):
    make = functools.partial(DenseNet, blocks=cifar_blocks(depth))
    yield f'densenet_bc{depth}_{growth}', BackboneEntry(make, published=growth, stem='cifar')
  for depth, blocks in IMAGENET_BLOCKS.items():
    make = functools.partial(DenseNet, blocks=blocks)
    yield f'densenet{depth}', _for_imagenet(make, published=32)


def _vggs() -> Iterator[tuple[str, BackboneEntry]]:
  for depth in VGG_GROUPS:
    make = functools.partial(VGG, depth=depth)
    yield f'vgg{depth}', BackboneEntry(make, published=64, smallest=16)


def _imagenet_resnets() -> Iterator[tuple[str, BackboneEntry]]:
  origins: dict[str, Origin] = {'': 'keras', '_v1_5': 'torch'}
  for suffix, origin in origins.items():
    for depth in BOTTLENECKS:
      make = functools.partial(ImageNetResNet, depth=depth, origin=origin)
      yield f'resnet{depth}{suffix}', _for_imagenet(make, published=64)
  for depth in RESNET_BLOCKS:
    if depth not in BOTTLENECKS:  # basic blocks have the same strides for both origins
      make = functools.partial(ImageNetResNet, depth=depth, origin='torch')
      yield f'resnet{depth}', _for_imagenet(make, published=64)


def _of_two_origins() -> Iterator[tuple[str, BackboneEntry]]:
  for name, kind, smallest in (
    ('mobilenet_v1', MobileNetV1, 32),
    ('mobilenet_v2', MobileNetV2, 32),
    ('efficientnet_b0', EfficientNet, 32),
    ('inception_v3', InceptionV3, 75),
  ):
    origins: dict[str, Origin] = {'': 'keras', '_torch': 'torch'}
    for suffix, origin in origins.items():
      make = functools.partial(kind, origin=origin)
      yield name + suffix, _for_imagenet(make, published=WIDTH, smallest=smallest)


def _efficientnet_lites() -> Iterator[tuple[str, BackboneEntry]]:
  for version in LITE:
    make = functools.partial(EfficientNet, lite=version)
    yield f'efficientnet_lite{version}', _for_imagenet(make, published=WIDTH)


def _mobilenets_for_cifar() -> Iterator[tuple[str, BackboneEntry]]:
  for name, kind in (('mobilenet_v1', MobileNetV1), ('mobilenet_v2', MobileNetV2)):
    yield f'{name}_cifar', BackboneEntry(kind, published=WIDTH, stem='cifar')


def _msdnets() -> Iterator[tuple[str, BackboneEntry]]:
  for name, (blocks, growth) in MSDNETS.items():
    make = functools.partial(MSDNet, blocks=blocks, growth=growth)
    yield name, BackboneEntry(make, final_head='msdnet')


def _vits() -> Iterator[tuple[str, BackboneEntry]]:
  for size, width in (('ti', 192), ('s', 384), ('b', 768)):
    make = functools.partial(ViT, depth=12, patch=16, side=224)
    yield f'vit_{size}16', BackboneEntry(make, published=width, smallest=16)
  # The sizes of Lee et al. 2021, arXiv 2112.13492, for training from scratch on small images.
  make = functools.partial(ViT, depth=9, patch=4, side=32, mlp_ratio=2, head_size=16)
  yield 'vit9_cifar', BackboneEntry(make, published=192)


BACKBONES: dict[str, BackboneEntry] = dict(
  [
    *_resnets(),
    *_wide_resnets(),
    *_densenets(),
    *_vggs(),
    *_imagenet_resnets(),
    *_of_two_origins(),
    *_efficientnet_lites(),
    *_mobilenets_for_cifar(),
    *_msdnets(),
    *_vits(),
    ('speedrun', BackboneEntry(Speedrun, published=64, smallest=9, final_head='max_pool')),
  ]
)


@dataclasses.dataclass(frozen=True)
class HeadEntry:
  """A factory of one head: (shape, num_classes, *, width, dtype, rngs) -> head.

  Attributes:
    make: class of the head.
    smallest: height and width of the smallest valid feature map, in pixels.
  """

  make: Callable[..., Any]
  smallest: int = 2

  def __call__(self, *args: Any, **settings: Any) -> Head | CascadeHead:
    return self.make(*args, **settings)


_PLAIN_HEADS = {
  'linear': HeadEntry(LinearHead, smallest=1),
  'conv': HeadEntry(ConvHead),
  'mlp': HeadEntry(MLPHead),
  'max_pool': HeadEntry(MaxPoolHead, smallest=1),
  'mixed_pool': HeadEntry(MixedPoolHead, smallest=1),
  'msdnet': HeadEntry(MSDNetHead),
  'separable': HeadEntry(SeparableHead, smallest=1),
  'vit': HeadEntry(ViTHead),
  'mixer': HeadEntry(MixerHead),
}
CASCADE = 'cascade_'  # prefix of heads that use the logits of the exit before


def _cascades() -> Iterator[tuple[str, HeadEntry]]:
  for name, entry in _PLAIN_HEADS.items():
    make = functools.partial(CascadeHead, make=entry.make)
    yield CASCADE + name, HeadEntry(make, entry.smallest)


HEADS: dict[str, HeadEntry] = {**_PLAIN_HEADS, **dict(_cascades())}

STEMS = ('auto', 'cifar', 'imagenet')  # auto: the stem of the published network

DTYPES: dict[str, DTypeLike] = {
  'float32': jnp.float32,
  'bfloat16': jnp.bfloat16,
  'float64': jnp.float64,
}
