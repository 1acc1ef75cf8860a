"""Accuracy against cost, and the operating point for a wish: chosen on validation, told of test."""

from collections.abc import Hashable, Mapping, Sequence
import dataclasses
from typing import TypeVar

import numpy as np

from mecl_jax.errors import UserError, choose
from mecl_jax.evaluation.policies import Policy, first_reached
from mecl_jax.evaluation.predictions import TEST, Predicted, check_same_exits, check_validation
from mecl_jax.evaluation.rules import confidence_of
from mecl_jax.evaluation.thresholds import TOLERANCE
from mecl_jax.models import ExitCost
from mecl_jax.models.macs import quantity
from mecl_jax.models.registry import CASCADE

Name = TypeVar('Name', bound=Hashable)

WISHES = ('target_macs', 'target_latency_ms', 'max_accuracy_drop')


def dynamic_macs(costs: Sequence[ExitCost]) -> np.ndarray:
  """MACs of an example that leaves at every exit when all exits before it were asked on the way.

  `ExitCost.macs` counts the stages and the head of that exit alone; here come the heads of the
  earlier ones. What a cascade sees runs once: its `head_macs` hold those of the exit before.

  Args:
    costs: of all exits, earliest first.

  Returns:
    int64 [exits].
  """
  before = [0, *(cost.head_macs for cost in costs[:-1])]
  own = [
    cost.head_macs - (seen if cost.head.startswith(CASCADE) else 0)
    for cost, seen in zip(costs, before, strict=True)
  ]
  stages = np.array([cost.macs - cost.head_macs for cost in costs], np.int64)
  return stages + np.cumsum(own, dtype=np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """What policies are worth on one split.

  Attributes:
    accuracy: float64 [policies], 0..1.
    leaving: float64 [policies, exits], share of the examples that leaves at each.
    final_accuracy: of the last exit by itself.
  """

  accuracy: np.ndarray
  leaving: np.ndarray
  final_accuracy: float

  def mean(self, costs: np.ndarray) -> np.ndarray:
    """Mean cost of an example, float64 [policies], in the unit of `costs` [exits]."""
    check_same_exits('costs', len(costs), self.leaving.shape[1])
    return self.leaving @ np.asarray(costs, np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """The same policies on both splits, in the order in which they were given."""

  policies: tuple[Policy, ...]
  validation: Points
  test: Points


def curve(policies: Sequence[Policy], validation: Predicted, test: Predicted) -> Curve:
  """Measures policies on both splits; a rule's confidences are computed once.

  Raises:
    UserError: a split in the place of the other, or of another number of exits than a policy.
  """
  check_validation(validation)
  if test.name != TEST:
    raise UserError(f'a curve is reported on the test split, and this is the {test.name} split')
  return Curve(tuple(policies), _points(policies, validation), _points(policies, test))


@dataclasses.dataclass(frozen=True, eq=False)
class OperatingPoint:
  """One policy of a curve.

  Attributes:
    index: in the curve.
    policy: that is meant.
    validation_accuracy, validation_cost: by which it was chosen.
    test_accuracy, test_cost: what to report.
  """

  index: int
  policy: Policy
  validation_accuracy: float
  validation_cost: float
  test_accuracy: float
  test_cost: float


def operating_point(curve: Curve, costs: np.ndarray, wish: str, value: float) -> OperatingPoint:
  """The policy for a wish, chosen on validation.

  Args:
    curve: of the policies to choose from.
    costs: float [exits] of an example that leaves there: milliseconds for `target_latency_ms`, else
      MACs.
    wish: 'target_macs' and 'target_latency_ms' take the most accurate whose mean cost is at most
      `value`, and of equals the cheapest; 'max_accuracy_drop' takes the cheapest whose accuracy is
      at most `value` below the final exit's, and of equals the most accurate. Of what is equal in
      both, the first.
    value: of the wish.

  Raises:
    UserError: no such wish, or none of the points meets it; the nearest is named.
  """
  points, cost = curve.validation, curve.validation.mean(costs)
  met = meets(points, costs, wish, value)
  by_accuracy, by_cost = np.lexsort((cost, -points.accuracy)), np.lexsort((-points.accuracy, cost))
  # Short of accuracy the most accurate is the nearest, short of a target the cheapest.
  in_accuracy = wish == 'max_accuracy_drop'
  order, nearest = (by_cost, by_accuracy[0]) if in_accuracy else (by_accuracy, by_cost[0])
  if not met.any():
    in_ms = wish == 'target_latency_ms'
    takes = f'{cost[nearest]:.3f} ms' if in_ms else f'{quantity(cost[nearest])} MACs'
    raise UserError(
      f'no operating point meets {wish}={value}; the nearest takes {takes} at an accuracy of'
      f' {points.accuracy[nearest]:.4f}, where the final exit has {points.final_accuracy:.4f}'
      ' (validation)'
    )
  return point_at(curve, costs, int(order[met[order]][0]))


def meets(points: Points, costs: np.ndarray, wish: str, value: float) -> np.ndarray:
  """Whether a wish is met, bool [policies]; arguments as of `operating_point`.

  Raises:
    UserError: no such wish.
  """
  if choose('wish', wish, WISHES) == 'max_accuracy_drop':
    return points.final_accuracy - points.accuracy <= value + TOLERANCE
  return points.mean(costs) <= value * (1 + TOLERANCE)


def point_at(curve: Curve, costs: np.ndarray, index: int) -> OperatingPoint:
  """A policy of a curve by its index, whatever it is worth."""
  return OperatingPoint(
    index,
    curve.policies[index],
    float(curve.validation.accuracy[index]),
    float(curve.validation.mean(costs)[index]),
    float(curve.test.accuracy[index]),
    float(curve.test.mean(costs)[index]),
  )


def areas(
  lines: Mapping[Name, tuple[np.ndarray, np.ndarray]],
) -> tuple[dict[Name, float], tuple[float, float]]:
  """Mean accuracy over the costs that all lines reach: the area below each, over its width.

  A line joins its points in order of cost; points of equal cost count as one, of their mean
  accuracy. All points are in it, also those that another one beats: on the test split it would not
  be honest to leave them out. The area is that of the trapezoids between the largest of the lines'
  smallest costs and the smallest of their largest.

  Args:
    lines: by name, cost and accuracy, [points] each.

  Returns:
    the area of every line by its name, and the range; where it is empty all areas are NaN, and
    where it is one cost they are the accuracies there.
  """
  low = max(float(cost.min()) for cost, _ in lines.values())
  high = min(float(cost.max()) for cost, _ in lines.values())
  return {name: _area(*line, low, high) for name, line in lines.items()}, (low, high)


def _area(cost: np.ndarray, accuracy: np.ndarray, low: float, high: float) -> float:
  at, which = np.unique(cost, return_inverse=True)
  mean = np.bincount(which, accuracy) / np.bincount(which)
  if low > high:
    return float('nan')
  if low == high:
    return float(np.interp(low, at, mean))
  knots = np.array([low, *at[(low < at) & (at < high)], high])
  return float(np.trapezoid(np.interp(knots, at, mean), knots) / (high - low))


def _points(policies: Sequence[Policy], split: Predicted) -> Points:
  right, accuracy, leaving = split.right(), [], []
  for policy in policies:
    check_same_exits('a policy', policy.exits, split.exits)
    at = first_reached(confidence_of(split, policy.rule), policy.thresholds)
    accuracy.append(right[np.arange(len(at)), at].mean())
    leaving.append(np.bincount(at, minlength=split.exits) / len(at))
  final = float(right[:, -1].mean())
  return Points(np.array(accuracy), np.reshape(leaving, (-1, split.exits)), final)
