"""What a configuration may name: a new backbone or head is one file and one line here."""

from collections.abc import Callable, Iterator
import dataclasses
import functools

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.backbones.densenet import IMAGENET_BLOCKS, DenseNet, cifar_blocks
from mecl_jax.models.backbones.mobilenet import WIDTH, MobileNetV1, MobileNetV2
from mecl_jax.models.backbones.resnet import ResNet
from mecl_jax.models.backbones.vgg import GROUPS as VGG_GROUPS
from mecl_jax.models.backbones.vgg import VGG
from mecl_jax.models.backbones.wide_resnet import WideResNet
from mecl_jax.models.heads.convolutional import ConvHead, LinearHead, MixedPoolHead, MSDNetHead
from mecl_jax.models.heads.tokens import MixerHead, ViTHead


@dataclasses.dataclass(frozen=True)
class BackboneEntry:
  """A backbone by its name: (in_channels, *, width, dtype, rngs) -> backbone.

  Attributes:
    make: as the entry itself, but its `width` is what the backbone's class means by it.
    published: that width in the published network.
    smallest: side of an image, in pixels, from which on the network makes sense.
  """

  make: Callable[..., Backbone]
  published: int = 16
  smallest: int = 8

  def __call__(self, in_channels: int, *, width: int, dtype: DTypeLike, rngs: nnx.Rngs) -> Backbone:
    """Makes the backbone; a `width` of 16 is the published one, whatever the network.

    Any other scales it by width / 16, rounded, and leaves at least 1: a width of 8 halves the
    channels of every stage. ResNets have 16 channels in their first stage, so that `width` is just
    their number; a DenseNet's is its growth rate, and stages follow from it.
    """
    return self.make(
      in_channels, width=max(1, round(self.published * width / 16)), dtype=dtype, rngs=rngs
    )


def _resnets() -> Iterator[tuple[str, BackboneEntry]]:
  for depth in (8, 14, 20, 32, 44, 56, 110):
    yield f'resnet{depth}', BackboneEntry(functools.partial(ResNet, depth=depth))


def _wide_resnets() -> Iterator[tuple[str, BackboneEntry]]:
  for depth, factor in ((10, 1), (16, 4), (16, 8), (28, 10), (40, 4)):
    make = functools.partial(WideResNet, depth=depth, factor=factor)
    yield f'wrn{depth}_{factor}', BackboneEntry(make)


def _densenets() -> Iterator[tuple[str, BackboneEntry]]:
  for depth, growth in ((40, 12), (100, 12)):
    make = functools.partial(DenseNet, blocks=cifar_blocks(depth), stem='cifar')
    yield f'densenet_bc{depth}_{growth}', BackboneEntry(make, published=growth)
  for depth, blocks in IMAGENET_BLOCKS.items():
    make = functools.partial(DenseNet, blocks=blocks, stem='imagenet')
    yield f'densenet{depth}', BackboneEntry(make, published=32, smallest=32)


def _vggs() -> Iterator[tuple[str, BackboneEntry]]:
  for depth in VGG_GROUPS:
    make = functools.partial(VGG, depth=depth)
    yield f'vgg{depth}', BackboneEntry(make, published=64, smallest=16)


def _mobilenets() -> Iterator[tuple[str, BackboneEntry]]:
  for name, kind in (('mobilenet_v1', MobileNetV1), ('mobilenet_v2', MobileNetV2)):
    imagenet, cifar = (functools.partial(kind, stem=stem) for stem in ('imagenet', 'cifar'))
    yield name, BackboneEntry(imagenet, published=WIDTH, smallest=32)
    yield f'{name}_cifar', BackboneEntry(cifar, published=WIDTH)


BACKBONES: dict[str, BackboneEntry] = dict(
  [*_resnets(), *_wide_resnets(), *_densenets(), *_vggs(), *_mobilenets()]
)

# name: (shape, num_classes, *, width, dtype, rngs) -> head
HEADS: dict[str, Callable[..., nnx.Module]] = {
  'linear': LinearHead,
  'conv': ConvHead,
  'msdnet': MSDNetHead,
  'mixed_pool': MixedPoolHead,
  'vit': ViTHead,
  'mixer': MixerHead,
}

DTYPES: dict[str, DTypeLike] = {
  'float32': jnp.float32,
  'bfloat16': jnp.bfloat16,
  'float64': jnp.float64,
}
