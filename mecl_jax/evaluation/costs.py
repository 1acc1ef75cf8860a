"""Costs of dynamic inference: what an example costs that leaves at each exit."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from mecl_jax.evaluation.predictions import check_same_exits
from mecl_jax.models import ExitCost
from mecl_jax.models.registry import CASCADE


def dynamic_macs(costs: Sequence[ExitCost]) -> np.ndarray:
  """Computes the MACs of an example that leaves at each exit, with the heads of all exits before.

  `ExitCost.macs` counts the stages and the head of one exit only. A cascade head runs the head
  before it, and its `head_macs` include that one; it is counted once.

  Args:
    costs: of all exits, earliest first.

  Returns:
    int64 [exits].
  """
  before = [0, *(cost.head_macs for cost in costs[:-1])]
  own = [
    cost.head_macs - (included if cost.head.startswith(CASCADE) else 0)
    for cost, included in zip(costs, before, strict=True)
  ]
  stages = np.array([cost.macs - cost.head_macs for cost in costs], np.int64)
  return stages + np.cumsum(own, dtype=np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Costs:
  """Costs of an example that leaves at each exit, with the heads of all exits before.

  Attributes:
    macs: int64 [exits], see `dynamic_macs`.
    final_macs: MACs of the final exit without early heads; savings are relative to it.
    ms: float64 [exits], milliseconds; None if latencies were not measured.
    final_ms: milliseconds of the final exit without early heads; None as `ms`.
  """

  macs: np.ndarray
  final_macs: int
  ms: np.ndarray | None = None
  final_ms: float | None = None


def make_costs(
  exits: Sequence[ExitCost], segment_ms: np.ndarray | None = None, final_ms: float | None = None
) -> Costs:
  """Makes costs from the MACs of each exit and, if measured, from latencies.

  Args:
    exits: costs of each exit, earliest first.
    segment_ms: float [exits], milliseconds of each segment: the stages after the exit before, and
      the head.
    final_ms: milliseconds of the whole network without early heads; goes with `segment_ms`.

  Returns:
    the costs, without milliseconds unless both latencies are given.

  Raises:
    UserError: the latencies are of another number of exits.
  """
  macs, final_macs = dynamic_macs(exits), exits[-1].macs
  if segment_ms is None or final_ms is None:
    return Costs(macs, final_macs)
  check_same_exits('latencies', len(segment_ms), len(exits))
  return Costs(macs, final_macs, np.cumsum(segment_ms, dtype=np.float64), final_ms)
