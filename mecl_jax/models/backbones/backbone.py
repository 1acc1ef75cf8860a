"""The base class of backbones, and the names of their stages."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flax import nnx
import jax

from mecl_jax.errors import UserError
from mecl_jax.models.named import Named

# Output of a stage: a feature map [B, H, W, C], or several arrays.
Features = jax.Array | tuple[jax.Array, ...]


class Backbone(nnx.Module):
  """A sequence of named stages, independent of exits and classes.

  A stage is a module whose input is the output of the stage before it: a feature map [B, H, W, C],
  or a tuple of arrays whose last one is the feature map for heads (see `feature_map`). Stage names
  may have a group, the part before the last underscore. The name of a group also refers to its last
  stage: `stage1` is the last `stage1_block<n>` (see `place_exits`).

  Args:
    stages: stage name -> module, first to last.

  Raises:
    UserError: a stage is a Linen module with batch norm.

  Attributes:
    stages: as given.
    stage_names: first to last. `Named` does not keep this order when it is split and merged.
  """

  def __init__(self, stages: Mapping[str, nnx.Module]):
    check_batch_norm(stages, 'stage')
    self.stage_names = tuple(stages)
    self.stages = Named(stages)


def check_batch_norm(parts: Mapping[str, nnx.Module], what: str) -> None:
  """Checks that no part is a Linen module with batch norm, whose averages would never move.

  Args:
    parts: by name.
    what: they are, for the message.

  Raises:
    UserError: one is.
  """
  for name, part in parts.items():
    for _, node in nnx.iter_graph(part):
      if isinstance(node, nnx.bridge.ToNNX) and jax.tree.leaves(nnx.state(node, nnx.BatchStat)):
        raise UserError(
          f'{what} {name} is a Linen module with batch norm in nnx.bridge.ToNNX, which does not'
          ' pass the training mode on: its moving averages would never change. Write the part in'
          ' Flax NNX, with nnx.BatchNorm, or use a Linen module without batch norm'
        )


def feature_map(features: Features) -> jax.Array:
  """Returns the feature map [B, H, W, C] for a head from the output of a stage."""
  return features[-1] if isinstance(features, tuple) else features


def add_groups(
  stages: dict[str, nnx.Module],
  in_channels: int,
  groups: Iterable[tuple[int, ...]],
  make_block: Callable[..., nnx.Module],
  **settings: Any,
) -> int:
  """Adds groups of equal blocks to the stages: `stage1_block1`, `stage1_block2`, and so on.

  Args:
    stages: stage name -> module, extended in place.
    in_channels: channels of the input of the first block.
    groups: (.., channels, blocks, stride) of every group. The first block of a group has its
      stride, the others have stride 1. Values before `channels` are passed to `make_block`.
    make_block: (in_channels, channels, .., *, stride, **settings) -> block.
    **settings: passed to `make_block`.

  Returns:
    channels of the output of the last block.
  """
  for group, (*kind, channels, blocks, stride) in enumerate(groups, 1):
    for block in range(1, blocks + 1):
      stages[f'stage{group}_block{block}'] = make_block(
        in_channels, channels, *kind, stride=stride if block == 1 else 1, **settings
      )
      in_channels = channels
  return in_channels
