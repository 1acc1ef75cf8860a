"""Choice of a policy: candidates of every exit rule, chosen on validation, reported on test."""

from collections.abc import Iterator
import dataclasses
from typing import NamedTuple

import numpy as np

from mecl_jax.evaluation import thresholds
from mecl_jax.evaluation.costs import Costs
from mecl_jax.evaluation.curves import Curve, curve, joined
from mecl_jax.evaluation.operating_points import (
  MAX_ACCURACY_DROP,
  OperatingPoint,
  Target,
  operating_point,
  point_at,
)
from mecl_jax.evaluation.policies import Policy, first_reached
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import PATIENCE, RULES, Rule, confidence_of, fit_rule

GIVEN = 'given'  # thresholds from a file


class Line(NamedTuple):
  """Policies of one rule whose thresholds were found in one way, from cheap to expensive."""

  rule: str
  thresholds: str  # 'budgeted', 'shared', 'per_exit' or 'given'
  curve: Curve


class Option(NamedTuple):
  """The operating point of a line."""

  line: Line
  point: OperatingPoint


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
  """The candidates and the chosen policy.

  Attributes:
    lines: all candidates.
    options: the operating points of all lines with a policy that meets the target.
    chosen: the best option on validation.
    target: the target that the policy was chosen for; None for a policy from a file.
  """

  lines: tuple[Line, ...]
  options: tuple[Option, ...]
  chosen: Option
  target: Target | None = None


def choose_policy(validation: Predicted, test: Predicted, costs: Costs, target: Target) -> Choice:
  """Chooses a policy over all rules for a target, on validation; test is only measured.

  The best of some hundred policies on validation is a little worse on other examples, most of all
  one with 'per_exit' thresholds. Its test accuracy is the value to report.

  Args:
    validation: predictions of the validation split.
    test: predictions of the test split.
    costs: of as many exits.
    target: the limit that the policy has to keep on validation.

  Returns:
    the choice.

  Raises:
    UserError: no policy of any rule meets the target (the message names the nearest), the target is
      a latency and none were measured, the splits are exchanged, or the costs are of another number
      of exits.
  """
  unit = target.relevant_costs(costs)
  lines = candidates(validation, test, unit, target)
  best = operating_point(joined([line.curve for line in lines]), unit, target).index
  options, chosen, before = list[Option](), None, 0
  for line in lines:
    if target.meets(line.curve.validation, unit).any():
      point = operating_point(line.curve, unit, target)
      if 0 <= best - before < len(line.curve.policies):
        point = point_at(line.curve, unit, best - before)
        chosen = len(options)
      options.append(Option(line, point))
    before += len(line.curve.policies)
  assert chosen is not None  # the best policy meets the target, so its line is an option
  return Choice(lines, tuple(options), options[chosen], target)


def given_policy(policy: Policy, validation: Predicted, test: Predicted, costs: Costs) -> Choice:
  """Returns the choice of a policy from a file; all candidates are lines to compare it with.

  Args:
    policy: as from `load_policy`.
    validation, test, costs: as of `choose_policy`.

  Raises:
    UserError: the policy or the costs are for another number of exits.
  """
  line = Line(policy.rule.name, GIVEN, curve([policy], validation, test))
  option = Option(line, point_at(line.curve, costs.macs, 0))
  return Choice((line, *candidates(validation, test, costs.macs)), (option,), option)


def candidates(
  validation: Predicted, test: Predicted, costs: np.ndarray, target: Target | None = None
) -> tuple[Line, ...]:
  """Fits every rule, with thresholds found in every suitable way.

  Args:
    validation: predictions of the validation split, which thresholds come from.
    test: predictions of the test split, on which policies are measured as well.
    costs: float [exits], in the unit of the target, for 'per_exit' thresholds.
    target: adds a policy with 'per_exit' thresholds for this target; None adds none.

  Returns:
    a line for each rule and way.
  """
  found = []
  for name in RULES:
    rule = fit_rule(name, validation)
    for way, policies in _ways(rule, validation, costs, target):
      found.append(Line(name, way, curve(policies, validation, test)))
  return tuple(found)


def _ways(
  rule: Rule, validation: Predicted, costs: np.ndarray, target: Target | None
) -> Iterator[tuple[str, list[Policy]]]:
  if rule.name != PATIENCE:  # all examples tie at its first exit, whatever the budget
    yield 'budgeted', thresholds.budgeted(rule, validation)
  yield 'shared', thresholds.shared(rule, validation)
  own = thresholds.per_exit_sweep(rule, validation, costs)
  if target:
    limits_drop = target.name == MAX_ACCURACY_DROP
    find = thresholds.per_exit if limits_drop else thresholds.per_exit_within
    own.append(find(rule, validation, costs, target.value))
  confidence = confidence_of(validation, rule)
  own.sort(key=lambda policy: costs[first_reached(confidence, policy.thresholds)].mean())
  yield 'per_exit', own
