"""Vision transformers.

References:
  Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
  ICLR 2021, arXiv 2010.11929.
"""

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.convolution import conv_general_dilated
from mecl_jax.models.layers import dense, normal, parameter_dtype
from mecl_jax.models.resizing import resize
from mecl_jax.models.transformer import MLP, layer_norm, positions, with_token

# Output of a stage: all tokens [B, 1 + H * W, D], the class token first; and the patch tokens as a
# feature map [B, H, W, D] for heads. Stages do not use the map, so it costs nothing without a head.
Tokens = tuple[jax.Array, jax.Array]


def gelu(x: jax.Array) -> jax.Array:
  """Returns the exact GELU, as in the published networks; `nnx.gelu` approximates it by tanh."""
  return nnx.gelu(x, approximate=False)


def head_count(width: int, head_size: int) -> int:
  """Returns the largest number of heads that divides `width` into parts of `head_size` or more."""
  return next(n for n in range(max(1, width // head_size), 0, -1) if width % n == 0)


def _tokens(tokens: jax.Array, shape: tuple[int, ...]) -> Tokens:
  return tokens, tokens[:, 1:].reshape(shape)


class Stem(nnx.Module):
  """Patch embedding, class token and position embeddings; [B, H, W, in] -> `Tokens`.

  The patch embedding is a convolution without padding whose stride is its size. Pixels at the right
  and at the bottom that do not fill a patch are ignored.

  Attributes:
    patches: nnx.Conv to `width` channels, with bias.
    token: nnx.Param [1, 1, width], the class token.
    positions: nnx.Param [1 + g * g, width] with g = side // patch, for the class token and then for
      the patches, row by row.
  """

  def __init__(
    self,
    in_channels: int,
    width: int,
    *,
    patch: int,
    side: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    parameters = parameter_dtype(dtype)
    self.grid = side // patch
    self.patches = nnx.Conv(
      in_channels,
      width,
      (patch, patch),
      patch,
      padding='VALID',
      kernel_init=normal(1),
      conv_general_dilated=conv_general_dilated,
      dtype=dtype,
      param_dtype=parameters,
      rngs=rngs,
    )
    self.token = nnx.Param(jnp.zeros((1, 1, width), parameters))
    self.positions = positions(1 + self.grid**2, width, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> Tokens:
    y = self.patches(x)
    batch, height, width, channels = y.shape
    tokens = y.reshape(batch, height * width, channels)
    places = self._places(height, width)
    return _tokens(with_token(tokens, self.token[...], places), y.shape)

  def _places(self, height: int, width: int) -> jax.Array:
    """Returns position embeddings for height x width patches, [1 + height * width, D]."""
    places = self.positions[...]
    if (height, width) == (self.grid, self.grid):
      return places
    grid = places[1:].reshape(self.grid, self.grid, -1)
    resized = resize(grid, height, width, 'bicubic')
    return jnp.concatenate([places[:1], resized.reshape(height * width, -1)])


class Attention(nnx.Module):
  """Self-attention with several heads; [B, N, D] -> [B, N, D].

  Attributes:
    qkv: nnx.Linear D -> 3 D: all queries, then all keys, then all values; each ordered by head.
    out: nnx.Linear D -> D.
  """

  def __init__(self, width: int, heads: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.heads = heads
    self.qkv = dense(width, 3 * width, dtype=dtype, rngs=rngs)
    self.out = dense(width, width, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    batch, count, width = x.shape
    qkv = self.qkv(x).reshape(batch, count, 3, self.heads, width // self.heads)
    mixed = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
    return self.out(mixed.reshape(x.shape))


class Block(nnx.Module):
  """Attention and an MLP, each with a layer norm before it and a shortcut; `Tokens` -> `Tokens`."""

  def __init__(self, width: int, *, heads: int, mlp_ratio: int, dtype: DTypeLike, rngs: nnx.Rngs):
    self.norm1 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.attention = Attention(width, heads, dtype=dtype, rngs=rngs)
    self.norm2 = layer_norm(width, dtype=dtype, rngs=rngs)
    self.mlp = MLP(width, mlp_ratio * width, activation=gelu, dtype=dtype, rngs=rngs)

  def __call__(self, features: Tokens) -> Tokens:
    x, patches = features
    x = x + self.attention(self.norm1(x))
    x = x + self.mlp(self.norm2(x))
    return _tokens(x, patches.shape)


class TokenNorm(nnx.Module):
  """The last layer norm of the class token, as a 1x1 feature map; `Tokens` -> [B, 1, 1, D]."""

  def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
    self.norm = layer_norm(width, dtype=dtype, rngs=rngs)

  def __call__(self, features: Tokens) -> jax.Array:
    tokens, _ = features
    return self.norm(tokens[:, 0])[:, None, None]


class ViT(Backbone):
  """A vision transformer without its classifier.

  The stages are `stem`, `block1`, .., `block<depth>` and `norm`. The feature map of the stem and of
  a block are the patch tokens, [B, H / patch, W / patch, width]; that of `norm` is the normalised
  class token, [B, 1, 1, width].

  Images may have any size that contains a patch. Position embeddings are learned for images of
  `side` x `side` pixels. For other sizes the network resizes them by bicubic interpolation, as is
  usual with published weights.

  Args:
    in_channels: channels of the images.
    depth: number of blocks.
    patch: side of a patch, in pixels.
    side: side of the images that the position embeddings are learned for, in pixels.
    mlp_ratio: channels inside an MLP, in multiples of `width`.
    head_size: minimum number of channels of an attention head; see `head_count`. A narrower network
      has fewer heads of this size, and at least one.
    width: the embedding dimension D.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.
  """

  def __init__(
    self,
    in_channels: int,
    *,
    depth: int,
    patch: int,
    side: int,
    mlp_ratio: int = 4,
    head_size: int = 64,
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    stages: dict[str, nnx.Module] = {
      'stem': Stem(in_channels, width, patch=patch, side=side, dtype=dtype, rngs=rngs)
    }
    heads = head_count(width, head_size)
    for block in range(1, depth + 1):
      stages[f'block{block}'] = Block(
        width, heads=heads, mlp_ratio=mlp_ratio, dtype=dtype, rngs=rngs
      )
    stages['norm'] = TokenNorm(width, dtype=dtype, rngs=rngs)
    super().__init__(stages)
