"""The blocks of InceptionV3."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.imagenet import Origin, scaled
from mecl_jax.models.layers import ConvNorm

EPSILON = 1e-3

# The convolutions of a branch: (channels, kernel, ..), two kernels if there are two side by side.
Steps = Sequence[tuple[Any, ...]]
# The branches of a block by their names. One whose `branch_pool` is empty halves height and width.
Branches = Mapping[str, Steps]
Path = tuple[tuple[str, ...], ...]  # names of the layers of a branch, a tuple for every step


def _halve(x: jax.Array) -> jax.Array:
  return nnx.max_pool(x, (3, 3), (2, 2))


class PooledConv(ConvNorm):
  """3x3 max pooling with stride 2, and then convolution, batch norm, ReLU."""

  def __call__(self, x: jax.Array) -> jax.Array:
    return super().__call__(_halve(x))


class Mixed(nnx.Module):
  """A block of branches, each of which sees the input, and whose channels are joined.

  The branches are chains of `ConvNorm`; `branch_pool` begins with 3x3 pooling, an average or, where
  the block halves height and width, the maximum. A chain's layers are attributes of its name with
  their number behind it, `branch5x5_1`, `branch5x5_2`, or without if there is only one; two side by
  side end in `a` and `b`.

  Args:
    in_channels: of the feature map.
    branches: see `Branches`.
    origin: 'keras', where an average leaves the padding out; or 'torch', where its zeros count.
    width: channels of the network's stem, 32 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: of the initial parameters.

  Attributes:
    channels: of the output.
  """

  def __init__(
    self,
    in_channels: int,
    branches: Branches,
    *,
    origin: Origin,
    width: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    self.origin = origin
    self.halves = not branches['branch_pool']
    self.paths = tuple((branch, _names(branch, steps)) for branch, steps in branches.items())
    settings: dict[str, Any] = {'width': width, 'epsilon': EPSILON, 'dtype': dtype, 'rngs': rngs}
    self.channels = sum(
      self._add_branch(in_channels, path, branches[branch], **settings)
      for branch, path in self.paths
    )

  def _add_branch(
    self, channels: int, path: Path, steps: Steps, *, width: int, **settings: Any
  ) -> int:
    """Makes the layers of a branch, whose names are `path`; returns the channels of its output."""
    for names, (published, *sizes) in zip(path, steps, strict=True):
      out_channels = scaled(published, width)
      last = self.halves and names == path[-1]
      halving: dict[str, Any] = {'stride': 2, 'padding': 0} if last else {}
      for name, size in zip(names, sizes, strict=True):
        setattr(self, name, ConvNorm(channels, out_channels, size, **halving, **settings))
      channels = out_channels * len(sizes)
    return channels

  def __call__(self, x: jax.Array) -> jax.Array:
    outputs = []
    for branch, path in self.paths:
      y = self._pool(x) if branch == 'branch_pool' else x
      for names in path:
        y = jnp.concatenate([getattr(self, name)(y) for name in names], axis=-1)
      outputs.append(y)
    return jnp.concatenate(outputs, axis=-1)

  def _pool(self, x: jax.Array) -> jax.Array:
    if self.halves:
      return _halve(x)
    counts = self.origin == 'torch'
    y = nnx.avg_pool(x, (3, 3), padding='SAME', count_include_pad=counts)
    return y.astype(x.dtype)  # it divides by float32 counts


class PooledMixed(Mixed):
  """3x3 max pooling with stride 2, and then the block."""

  def __call__(self, x: jax.Array) -> jax.Array:
    return super().__call__(_halve(x))


def _names(branch: str, steps: Steps) -> Path:
  numbered = [branch] if len(steps) == 1 else [f'{branch}_{i + 1}' for i in range(len(steps))]
  return tuple(
    (name,) if len(sizes) == 1 else tuple(name + letter for letter in 'ab')
    for name, (_, *sizes) in zip(numbered, steps, strict=True)
  )
