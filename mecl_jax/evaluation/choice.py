"""Choice of a policy: fixed exits and exit rules, chosen on validation, reported on test."""

from collections.abc import Iterator
import dataclasses
from typing import NamedTuple

import numpy as np

from mecl_jax.evaluation import thresholds
from mecl_jax.evaluation.costs import Costs, UnitCosts
from mecl_jax.evaluation.curves import Curve, Points, curve, joined
from mecl_jax.evaluation.operating_points import (
  OperatingPoint,
  Target,
  operating_point,
  point_at,
)
from mecl_jax.evaluation.policies import Policy, first_reached, fixed
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import FIXED, PATIENCE, Rule, confidence_of, fit_rule
from mecl_jax.evaluation.tasks import TASKS

GIVEN = 'given'  # thresholds from a file
# Ways to find thresholds, the simplest first: equal policies are chosen in this order.
WAYS = ('shared', 'budgeted', 'per_exit')


class Line(NamedTuple):
  """Policies of one rule whose thresholds were found in one way, from cheap to expensive.

  Attributes:
    rule: name of the exit rule.
    thresholds: 'shared', 'budgeted', 'per_exit' or 'given'; 'fixed' for the fixed exits, which are
      a line of their own.
    curve: the policies.
  """

  rule: str
  thresholds: str
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
    options: the operating points of all lines with a policy that meets the target; of the fixed
      exits, every one that meets it.
    chosen: the best option on validation.
    target: the target that the policy was chosen for; None for a policy from a file.
  """

  lines: tuple[Line, ...]
  options: tuple[Option, ...]
  chosen: Option
  target: Target | None = None


def choose_policy(validation: Predicted, test: Predicted, costs: Costs, target: Target) -> Choice:
  """Chooses a policy over fixed exits and all rules, on validation; test is only measured.

  Fixed exits are the first candidates, so that among equal policies the simplest is chosen. Where
  times are known, a rule is chosen only if it is faster than every fixed exit that meets the target
  and is as accurate, whatever the unit of the target.

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
  together = joined([line.curve for line in lines])
  allowed = _as_fast_as_fixed(together.validation, costs, target)
  best = operating_point(together, unit, target, allowed).index
  options, chosen, before = list[Option](), None, 0
  for line in lines:
    met = np.flatnonzero(target.meets(line.curve.validation, unit)).tolist()
    if met:
      found = met if line.rule == FIXED else [operating_point(line.curve, unit, target).index]
      if 0 <= best - before < len(line.curve.policies):
        found = found if line.rule == FIXED else [best - before]
        chosen = len(options) + found.index(best - before)
      options += [Option(line, point_at(line.curve, unit, index)) for index in found]
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
  validation: Predicted, test: Predicted, costs: UnitCosts, target: Target | None = None
) -> tuple[Line, ...]:
  """Makes the fixed exits, and fits every rule with thresholds found in every suitable way.

  Args:
    validation: predictions of the validation split, which thresholds come from.
    test: predictions of the test split, on which policies are measured as well.
    costs: in the unit of the target, for 'per_exit' thresholds.
    target: adds a policy with 'per_exit' thresholds for this target; None adds none.

  Returns:
    a line of the fixed exits, then a line for each way and rule, the simplest way first.
  """
  exits = [fixed(number, validation.exits) for number in range(validation.exits)]
  found = [Line(FIXED, FIXED, curve(exits, validation, test))]
  for name in TASKS[validation.task].rules:
    rule = fit_rule(name, validation)
    for way, policies in _ways(rule, validation, costs.of(name), target):
      found.append(Line(name, way, curve(policies, validation, test)))
  return (found[0], *sorted(found[1:], key=lambda line: WAYS.index(line.thresholds)))


def _as_fast_as_fixed(points: Points, costs: Costs, target: Target) -> np.ndarray:
  """Returns whether no fixed exit that meets the target is as accurate and as fast.

  Returns:
    bool [policies], True for all fixed exits, and for all policies without measured times.
  """
  allowed = np.ones(len(points.accuracy), bool)
  if costs.ms is None:
    return allowed
  ms, at_exit = points.mean(costs.ms), np.array([rule == FIXED for rule in points.rules])
  for k in np.flatnonzero(at_exit & target.meets(points, target.relevant_costs(costs))):
    allowed &= at_exit | (points.accuracy > points.accuracy[k]) | (ms < ms[k])
  return allowed


def _ways(
  rule: Rule, validation: Predicted, costs: np.ndarray, target: Target | None
) -> Iterator[tuple[str, list[Policy]]]:
  if rule.name != PATIENCE:  # all examples tie at its first exit, whatever the budget
    yield 'budgeted', thresholds.budgeted(rule, validation)
  yield 'shared', thresholds.shared(rule, validation)
  own = thresholds.per_exit_sweep(rule, validation, costs)
  if target:
    if target.limits_drop:
      drop = target.largest_drop(float(validation.quality()[:, -1].mean()))
      own.append(thresholds.per_exit(rule, validation, costs, drop))
    else:
      own.append(thresholds.per_exit_within(rule, validation, costs, target.value))
  confidence = confidence_of(validation, rule)
  own.sort(key=lambda policy: costs[first_reached(confidence, policy.thresholds)].mean())
  yield 'per_exit', own
