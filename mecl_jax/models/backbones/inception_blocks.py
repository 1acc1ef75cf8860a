"""Blocks of InceptionV3."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mecl_jax.models.backbones.imagenet import Origin, scaled
from mecl_jax.models.layers import ConvNorm

EPSILON = 1e-3

# The steps of a branch, (channels, kernel) each, or (channels, kernel, kernel) for two convolutions
# of the same input.
Steps = Sequence[tuple[Any, ...]]
# Branch name -> steps. A block halves height and width if its `branch_pool` has no steps.
Branches = Mapping[str, Steps]
Path = tuple[tuple[str, ...], ...]  # layer names of a branch, one tuple per step


def _halve(x: jax.Array) -> jax.Array:
  return nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2))


class PooledConv(ConvNorm):
  """3x3 max pooling with stride 2, then convolution, batch norm, ReLU."""

  def __call__(self, x: jax.Array) -> jax.Array:
    return super().__call__(_halve(x))


class Mixed(nnx.Module):
  """A block of parallel branches with concatenated outputs.

  Every branch is a chain of `ConvNorm`. `branch_pool` begins with 3x3 pooling: max pooling if the
  block halves height and width, average pooling otherwise. The layers are attributes with the name
  of the branch and a number, `branch5x5_1`, `branch5x5_2`, or without number if the branch has one
  step. Two convolutions of the same input have names that end in `a` and `b`.

  Args:
    in_channels: channels of the feature map.
    branches: see `Branches`.
    origin: 'keras', where averages exclude the padding; or 'torch', where they include its zeros.
    width: channels of the stem of the network, 32 in the paper.
    dtype: of the computation; parameters are at least float32.
    rngs: random keys of the initial parameters.

  Attributes:
    channels: channels of the output.
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
    """Makes the layers of a branch, named as in `path`, and returns its output channels."""
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
    include = self.origin == 'torch'
    y = nnx.avg_pool(x, window_shape=(3, 3), padding='SAME', count_include_pad=include)
    return y.astype(x.dtype)  # avg_pool divides by float32 numbers if the padding is excluded


class PooledMixed(Mixed):
  """3x3 max pooling with stride 2, then the block."""

  def __call__(self, x: jax.Array) -> jax.Array:
    return super().__call__(_halve(x))


def _names(branch: str, steps: Steps) -> Path:
  numbered = [branch] if len(steps) == 1 else [f'{branch}_{i + 1}' for i in range(len(steps))]
  return tuple(
    (name,) if len(sizes) == 1 else tuple(name + letter for letter in 'ab')
    for name, (_, *sizes) in zip(numbered, steps, strict=True)
  )
