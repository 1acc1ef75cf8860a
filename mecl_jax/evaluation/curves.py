"""Accuracy-cost curves: policies measured on both splits, and the area below a curve."""

from collections.abc import Hashable, Mapping, Sequence
import dataclasses
from typing import TypeVar

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation.costs import UnitCosts
from mecl_jax.evaluation.policies import Policy, first_reached
from mecl_jax.evaluation.predictions import TEST, Predicted, check_same_exits, check_validation
from mecl_jax.evaluation.rules import confidence_of
from mecl_jax.evaluation.tasks import CLASSIFICATION

Name = TypeVar('Name', bound=Hashable)


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """Accuracy and exits of policies on one split.

  Attributes:
    accuracy: float64 [policies], 0..1; the mean quality of another task.
    leaving: float64 [policies, exits], share of the examples that leave at each exit.
    final_accuracy: accuracy of the final exit alone, 0..1.
    rules: name of the exit rule of each policy.
    task: name of the task.
  """

  accuracy: np.ndarray
  leaving: np.ndarray
  final_accuracy: float
  rules: tuple[str, ...]
  task: str = CLASSIFICATION.name

  def mean(self, costs: UnitCosts) -> np.ndarray:
    """Computes the mean cost of an example, float64 [policies], in the unit of `costs`.

    Raises:
      UserError: the costs are of another number of exits.
    """
    check_same_exits('costs', len(costs.fixed), self.leaving.shape[1])
    of_policies = np.reshape([costs.of(rule) for rule in self.rules], self.leaving.shape)
    return (self.leaving * of_policies).sum(axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """Policies in the given order, measured on both splits."""

  policies: tuple[Policy, ...]
  validation: Points
  test: Points


def curve(policies: Sequence[Policy], validation: Predicted, test: Predicted) -> Curve:
  """Measures policies on both splits; the confidences of each rule are computed once.

  Args:
    policies: for as many exits as the predictions have.
    validation: predictions of the validation split.
    test: predictions of the test split.

  Returns:
    the curve, in the order of the policies.

  Raises:
    UserError: the splits are exchanged, or a policy is for another number of exits.
  """
  check_validation(validation)
  if test.name != TEST:
    raise UserError(f'a curve is reported on the test split, and this is the {test.name} split')
  return Curve(tuple(policies), _points(policies, validation), _points(policies, test))


def joined(curves: Sequence[Curve]) -> Curve:
  """Returns one curve with the policies of several curves of the same predictions, in order."""

  def together(all_points: Sequence[Points]) -> Points:
    return Points(
      np.concatenate([points.accuracy for points in all_points]),
      np.concatenate([points.leaving for points in all_points]),
      all_points[0].final_accuracy,
      tuple(rule for points in all_points for rule in points.rules),
      all_points[0].task,
    )

  policies = tuple(policy for one in curves for policy in one.policies)
  validation = together([one.validation for one in curves])
  return Curve(policies, validation, together([one.test for one in curves]))


def areas(
  lines: Mapping[Name, tuple[np.ndarray, np.ndarray]],
) -> tuple[dict[Name, float], tuple[float, float]]:
  """Computes the mean accuracy of each line over the range of costs that all lines reach.

  A line joins its points in the order of their costs; points of equal cost count as one, with their
  mean accuracy. All points belong to it, also those that another point beats: leaving them out on
  the test split would be a choice made on the test split. The mean is the trapezoidal area divided
  by the width of the range. The range goes from the largest of the lines' lowest costs to the
  smallest of their highest.

  Args:
    lines: cost and accuracy, float [points] each, by name.

  Returns:
    the mean accuracy of every line by its name, and the range (low, high). All are NaN where the
    range is empty; where it is a single cost, they are the accuracies there.

  Examples:
    >>> flat = np.array([0.0, 10.0]), np.array([0.75, 0.75])
    >>> rising = np.array([2.0, 8.0]), np.array([0.5, 1.0])
    >>> areas({'flat': flat, 'rising': rising})
    ({'flat': 0.75, 'rising': 0.75}, (2.0, 8.0))
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
  right, accuracy, leaving = split.quality(), [], []
  for policy in policies:
    check_same_exits('a policy', policy.exits, split.exits)
    at = first_reached(confidence_of(split, policy.rule), policy.thresholds)
    accuracy.append(right[np.arange(len(at)), at].mean())
    leaving.append(np.bincount(at, minlength=split.exits) / len(at))
  final = float(right[:, -1].mean())
  rules = tuple(policy.rule.name for policy in policies)
  leaving_shares = np.reshape(leaving, (-1, split.exits))
  return Points(np.array(accuracy), leaving_shares, final, rules, split.task)
