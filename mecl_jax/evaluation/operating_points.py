"""Operating points: the policy of a curve that meets a target, chosen on the validation split."""

import dataclasses

import numpy as np

from mecl_jax.errors import UserError, choose
from mecl_jax.evaluation.costs import Costs, UnitCosts
from mecl_jax.evaluation.curves import Curve, Points
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.evaluation.thresholds import TOLERANCE
from mecl_jax.models.macs import quantity

TARGET_MACS, TARGET_LATENCY_MS, MAX_ACCURACY_DROP, MAX_ERROR_RISE = TARGETS = (
  'target_macs',
  'target_latency_ms',
  'max_accuracy_drop',
  'max_error_rise',
)


@dataclasses.dataclass(frozen=True)
class Target:
  """A limit that a policy has to keep on the validation split.

  Attributes:
    name: one of `TARGETS`. 'target_macs' and 'target_latency_ms' limit the mean cost of an example,
      'max_accuracy_drop' the accuracy lost against the final exit, 'max_error_rise' how much larger
      the mean error of regression is than that of the final exit.
    value: MACs, milliseconds, a share of the examples, or a share of the error of the final exit.

  Raises:
    UserError: no target has this name.
  """

  name: str
  value: float

  def __post_init__(self):
    choose('target', self.name, TARGETS)

  def __str__(self) -> str:
    return f'{self.name}={self.value:.10g}'

  @property
  def limits_drop(self) -> bool:
    """Whether the quality is limited, and not the mean cost."""
    return self.name in (MAX_ACCURACY_DROP, MAX_ERROR_RISE)

  def largest_drop(self, final: float) -> float:
    """Returns by how much the mean quality may be below that of the final exit, `final`."""
    return self.value * abs(final) if self.name == MAX_ERROR_RISE else self.value

  def relevant_costs(self, costs: Costs) -> UnitCosts:
    """Returns the costs that matter: milliseconds for a latency, else MACs.

    Raises:
      UserError: the target is a latency, and none were measured.
    """
    if self.name != TARGET_LATENCY_MS:
      return costs.macs
    if costs.ms is None:
      raise UserError(
        f'{self.name} needs the measured times of early exit; --mode=latency measures them'
      )
    return costs.ms

  def meets(self, points: Points, costs: UnitCosts) -> np.ndarray:
    """Returns which policies meet the target, bool [policies], by costs in its unit."""
    if self.limits_drop:
      final = points.final_accuracy
      return final - points.accuracy <= self.largest_drop(final) + TOLERANCE * _scale(points)
    return points.mean(costs) <= self.value * (1 + TOLERANCE)


def check_reachable(costs: Costs, target: Target) -> None:
  """Checks all of a target that can be known from costs alone, without any prediction.

  Args:
    costs: of the exits, with the measured times if there are any.
    target: the limit.

  Raises:
    UserError: the target is a latency and none were measured, or it limits the mean cost to less
      than the cheapest exit takes.
  """
  unit = target.relevant_costs(costs)
  if not target.limits_drop and target.value * (1 + TOLERANCE) < unit.least:
    raise UserError(
      f'no operating point meets {target}; the nearest takes'
      f' {_amount(target, unit.least)}, with all images at the cheapest exit'
    )


def limits_nothing(costs: Costs, target: Target) -> str:
  """Returns a sentence on a target above the cost of the whole network, else ''."""
  unit = target.relevant_costs(costs)
  if target.limits_drop or target.value < unit.whole:
    return ''
  return (
    f'{target} is above the cost of the whole network with all its heads'
    f' ({_amount(target, unit.whole)}), so that it limits nothing'
  )


@dataclasses.dataclass(frozen=True, eq=False)
class OperatingPoint:
  """One policy of a curve.

  Attributes:
    index: number of the policy in the curve.
    policy: the policy.
    validation_accuracy, validation_cost: the values by which it was chosen.
    test_accuracy, test_cost: the values to report.
  """

  index: int
  policy: Policy
  validation_accuracy: float
  validation_cost: float
  test_accuracy: float
  test_cost: float


def operating_point(
  curve: Curve, costs: UnitCosts, target: Target, allowed: np.ndarray | None = None
) -> OperatingPoint:
  """Chooses the best policy that meets a target, on validation.

  For a limit of the mean cost, the best policy is the most accurate, and among equally accurate
  ones the cheapest. For a limit of the accuracy drop, it is the cheapest, and among equally cheap
  ones the most accurate. Among policies that are equal in both, it is the first.

  Args:
    curve: the policies to choose from.
    costs: of an example, in the unit of the target.
    target: the limit.
    allowed: bool [policies], the policies to choose from; None allows all.

  Returns:
    the chosen policy with its values on both splits.

  Raises:
    UserError: no policy meets the target; the message names the nearest.
  """
  points, cost = curve.validation, curve.validation.mean(costs)
  met = target.meets(points, costs)
  by_accuracy, by_cost = np.lexsort((cost, -points.accuracy)), np.lexsort((-points.accuracy, cost))
  # The nearest to a limit of the drop is the most accurate, to a limit of the cost the cheapest.
  order, nearest = (by_cost, by_accuracy[0]) if target.limits_drop else (by_accuracy, by_cost[0])
  if not met.any():
    shown = TASKS[points.task].shown
    found, final = (shown.sign * q for q in (points.accuracy[nearest], points.final_accuracy))
    raise UserError(
      f'no operating point meets {target}; the nearest takes'
      f' {_amount(target, cost[nearest])} at {"an" if shown.label == "accuracy" else "a"}'
      f' {shown.label} of {found:.4f}, where the final exit has {final:.4f} (validation)'
    )
  if allowed is not None:
    met &= allowed
  return point_at(curve, costs, int(order[met[order]][0]))


def _scale(points: Points) -> float:
  """Returns the size of the quality: 1 of shares, and the error of the final exit of others."""
  return 1.0 if TASKS[points.task].shown.is_share else abs(points.final_accuracy) or 1.0


def _amount(target: Target, cost: float) -> str:
  """Formats a cost in the unit of a target."""
  return f'{cost:.3f} ms' if target.name == TARGET_LATENCY_MS else f'{quantity(cost)} MACs'


def point_at(curve: Curve, costs: UnitCosts, index: int) -> OperatingPoint:
  """Returns a policy of a curve by its index; costs as of `operating_point`."""
  return OperatingPoint(
    index,
    curve.policies[index],
    float(curve.validation.accuracy[index]),
    float(curve.validation.mean(costs)[index]),
    float(curve.test.accuracy[index]),
    float(curve.test.mean(costs)[index]),
  )
