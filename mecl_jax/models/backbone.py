"""What every backbone is."""

from collections.abc import Mapping

from flax import nnx


class Backbone(nnx.Module):
  """Named stages, one after the other; it knows nothing of exits or classes.

  Args:
    stages: stage name -> module, first to last; each maps the feature map [B, H, W, C] of the one
      before it to the next. `place_exits` knows the last stage of a group also by the group's name,
      what comes before the last underscore: `stage1` for the last `stage1_block<n>`.

  Attributes:
    stages: as given.
    stage_names: first to last, an order that `nnx.Dict` loses when it is split and merged.
  """

  def __init__(self, stages: Mapping[str, nnx.Module]):
    self.stage_names = tuple(stages)
    self.stages = nnx.Dict(stages)
