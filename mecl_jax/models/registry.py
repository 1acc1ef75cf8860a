"""What a configuration may name: a new backbone or head is one file and one line here."""

from collections.abc import Callable
import functools

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbone import Backbone
from mecl_jax.models.heads import ConvHead, LinearHead
from mecl_jax.models.resnet import ResNet

# name: (in_channels, *, width, dtype, rngs) -> backbone
BACKBONES: dict[str, Callable[..., Backbone]] = {
  f'resnet{depth}': functools.partial(ResNet, depth=depth) for depth in (8, 14, 20, 32, 44, 56, 110)
}

# name: (shape, num_classes, *, width, dtype, rngs) -> head
HEADS: dict[str, Callable[..., nnx.Module]] = {'linear': LinearHead, 'conv': ConvHead}

DTYPES: dict[str, DTypeLike] = {
  'float32': jnp.float32,
  'bfloat16': jnp.bfloat16,
  'float64': jnp.float64,
}
