"""Costs of an image that leaves at each exit, in MACs and in measured time."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses

import numpy as np

from mecl_jax.evaluation.predictions import check_same_exits
from mecl_jax.evaluation.rules import ALL_RULES, FIXED
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
class UnitCosts:
  """Costs of an image that leaves at each exit, in one unit.

  Attributes:
    fixed: [exits], where all images stop at this exit: its own head runs, no other head and no
      decision.
    early: [exits] for each exit rule by name, where images leave early: with the heads of all exits
      before, and in milliseconds also with the decisions at them.
  """

  fixed: np.ndarray
  early: Mapping[str, np.ndarray]

  def of(self, rule: str) -> np.ndarray:
    """Returns the costs [exits] of an image under a rule, by its name."""
    return self.fixed if rule == FIXED else self.early[rule]

  @property
  def least(self) -> float:
    """Cost of the cheapest way to answer an image."""
    return float(min(costs.min() for costs in (self.fixed, *self.early.values())))

  @property
  def whole(self) -> float:
    """Cost of an image that passes the whole network with all heads, under the dearest rule."""
    return float(max(costs.max() for costs in (self.fixed, *self.early.values())))


@dataclasses.dataclass(frozen=True, eq=False)
class Costs:
  """Costs of an image that leaves at each exit.

  Attributes:
    macs: in multiply-accumulates.
    ms: in measured milliseconds; None if latencies were not measured.
  """

  macs: UnitCosts
  ms: UnitCosts | None = None


def unit_costs(fixed: Iterable[float], early: Iterable[float]) -> UnitCosts:
  """Makes costs that are the same for all exit rules, as MACs are.

  Args:
    fixed: costs [exits] of each exit alone.
    early: costs [exits] with the heads of all exits before.
  """
  return UnitCosts(np.array([*fixed]), dict.fromkeys(ALL_RULES, np.array([*early])))


def make_costs(exits: Sequence[ExitCost], ms: UnitCosts | None = None) -> Costs:
  """Makes costs from the MACs of each exit and, if measured, from times.

  Args:
    exits: costs of each exit, earliest first.
    ms: measured milliseconds of an image.

  Raises:
    UserError: the times are of another number of exits.
  """
  if ms is not None:
    for times in (ms.fixed, *ms.early.values()):
      check_same_exits('latencies', len(times), len(exits))
  return Costs(unit_costs((cost.macs for cost in exits), dynamic_macs(exits)), ms)
