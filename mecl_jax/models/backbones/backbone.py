"""What every backbone is."""

from collections.abc import Mapping

from flax import nnx
import jax

# What stages hand on: a feature map [B, H, W, C], or several of them.
Features = jax.Array | tuple[jax.Array, ...]


class Backbone(nnx.Module):
  """Named stages, one after the other; it knows nothing of exits or classes.

  Args:
    stages: stage name -> module, first to last; each maps what the one before it returns to the
      next, a feature map [B, H, W, C] or a tuple of arrays whose last is the feature map, the one
      that `feature_map` gives to heads. `place_exits` knows the last stage of a group also by the
      group's name, what comes before the last underscore: `stage1` for the last `stage1_block<n>`.

  Attributes:
    stages: as given.
    stage_names: first to last, an order that `nnx.Dict` loses when it is split and merged.
  """

  def __init__(self, stages: Mapping[str, nnx.Module]):
    self.stage_names = tuple(stages)
    self.stages = nnx.Dict(stages)


def feature_map(features: Features) -> jax.Array:
  """What a head at a stage takes of what the stage returns, [B, H, W, C]."""
  return features[-1] if isinstance(features, tuple) else features
