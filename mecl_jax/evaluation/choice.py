"""One policy for a wish: the candidates of every rule, chosen on validation, told of test."""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError, choose
from mecl_jax.evaluation import thresholds
from mecl_jax.evaluation.operating_points import (
  WISHES,
  Curve,
  OperatingPoint,
  Points,
  curve,
  dynamic_macs,
  meets,
  operating_point,
  point_at,
)
from mecl_jax.evaluation.policies import Policy, first_reached
from mecl_jax.evaluation.predictions import Predicted, check_same_exits
from mecl_jax.evaluation.rules import PATIENCE, RULES, Rule, confidence_of, fit_rule
from mecl_jax.models import ExitCost

GIVEN = 'given'  # thresholds that were not found here


@dataclasses.dataclass(frozen=True)
class Wish:
  """What an operating point is to keep to; see `operating_point`.

  Attributes:
    name: one of `WISHES`.
    value: MACs, milliseconds, or a share of the examples.

  Raises:
    UserError: no such wish.
  """

  name: str
  value: float

  def __post_init__(self):
    choose('wish', self.name, WISHES)


@dataclasses.dataclass(frozen=True, eq=False)
class Costs:
  """What an example costs that leaves at each exit, all exits before it asked on the way.

  Attributes:
    macs: int64 [exits], see `dynamic_macs`.
    final_macs: of the final exit when no other is asked: what early exits have to save from.
    ms: float64 [exits], milliseconds; None if latencies were not measured, like `final_ms`.
    final_ms: of the final exit when no other is asked.
  """

  macs: np.ndarray
  final_macs: int
  ms: np.ndarray | None = None
  final_ms: float | None = None

  def of(self, wish: Wish) -> np.ndarray:
    """The costs, float [exits], that a wish is about: milliseconds for a latency, else MACs.

    Raises:
      UserError: a latency is wished for, and none were measured.
    """
    if wish.name != 'target_latency_ms':
      return self.macs
    if self.ms is None:
      raise UserError(f'{wish.name} needs measured latencies; --mode=latency measures them')
    return self.ms


def make_costs(
  exits: Sequence[ExitCost], segment_ms: np.ndarray | None = None, final_ms: float | None = None
) -> Costs:
  """Costs from those of the exits by themselves and, if they were measured, latencies.

  Args:
    exits: earliest first.
    segment_ms: [exits], of the stages between an exit and the one before it, with its head.
    final_ms: of the whole network with its final exit alone; goes with `segment_ms`.

  Raises:
    UserError: latencies are of another number of exits.
  """
  macs, final_macs = dynamic_macs(exits), exits[-1].macs
  if segment_ms is None or final_ms is None:
    return Costs(macs, final_macs)
  check_same_exits('latencies', len(segment_ms), len(exits))
  return Costs(macs, final_macs, np.cumsum(segment_ms, dtype=np.float64), final_ms)


class Line(NamedTuple):
  """Policies of one rule whose thresholds were found in one way, cheap to dear."""

  rule: str
  thresholds: str  # 'budgeted', 'shared', 'per_exit' or 'given'
  curve: Curve


class Option(NamedTuple):
  """The operating point of a line."""

  line: Line
  point: OperatingPoint


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
  """What there was to choose from, and what was chosen.

  Attributes:
    lines: all candidates.
    options: the operating points of the lines of which a policy meets the wish.
    chosen: the best of them on validation.
    wish: None for a policy that was given.
  """

  lines: tuple[Line, ...]
  options: tuple[Option, ...]
  chosen: Option
  wish: Wish | None = None


def choose_policy(validation: Predicted, test: Predicted, costs: Costs, wish: Wish) -> Choice:
  """Chooses a policy over all rules for a wish, by validation alone; test is only measured.

  Of some hundred policies the one is taken that looks best on validation, and on other examples it
  is a little worse than it looked there, `per_exit` more so than the others: what it is worth is
  its test accuracy.

  Raises:
    UserError: no policy of any rule meets the wish (the nearest of all is named), latencies are
      wished for and missing, or splits or costs are not in their places.
  """
  unit = costs.of(wish)
  lines = candidates(validation, test, unit, wish)
  best = operating_point(_joined(lines), unit, wish.name, wish.value).index
  options, chosen, before = list[Option](), None, 0
  for line in lines:
    if meets(line.curve.validation, unit, wish.name, wish.value).any():
      point = operating_point(line.curve, unit, wish.name, wish.value)
      if 0 <= best - before < len(line.curve.policies):
        point = point_at(line.curve, unit, best - before)
        chosen = len(options)
      options.append(Option(line, point))
    before += len(line.curve.policies)
  assert chosen is not None  # it is of a line that meets the wish, as it meets it itself
  return Choice(lines, tuple(options), options[chosen], wish)


def given_policy(policy: Policy, validation: Predicted, test: Predicted, costs: Costs) -> Choice:
  """The choice of who brings a policy, as from `load_policy`: there is no other option.

  The lines hold all candidates as well, to compare it with.

  Raises:
    UserError: it is of another number of exits.
  """
  line = Line(policy.rule.name, GIVEN, curve([policy], validation, test))
  option = Option(line, point_at(line.curve, costs.macs, 0))
  return Choice((line, *candidates(validation, test, costs.macs)), (option,), option)


def candidates(
  validation: Predicted, test: Predicted, costs: np.ndarray, wish: Wish | None = None
) -> tuple[Line, ...]:
  """Every rule with thresholds found in every way that suits it.

  Args:
    validation: thresholds come from it.
    test: they are measured on it, too.
    costs: float [exits], by which `per_exit` is found, in the unit of the wish.
    wish: for which there is a `per_exit` besides those for prices of the costs; None: for none.
  """
  found = []
  for name in RULES:
    rule = fit_rule(name, validation)
    for way, policies in _ways(rule, validation, costs, wish):
      found.append(Line(name, way, curve(policies, validation, test)))
  return tuple(found)


def _ways(
  rule: Rule, validation: Predicted, costs: np.ndarray, wish: Wish | None
) -> Iterator[tuple[str, list[Policy]]]:
  if rule.name != PATIENCE:  # of which all examples tie at the first exit, whatever the budget
    yield 'budgeted', thresholds.budgeted(rule, validation)
  yield 'shared', thresholds.shared(rule, validation)
  own = thresholds.per_exit_sweep(rule, validation, costs)
  if wish:
    in_accuracy = wish.name == 'max_accuracy_drop'
    find = thresholds.per_exit if in_accuracy else thresholds.per_exit_within
    own.append(find(rule, validation, costs, wish.value))
  confidence = confidence_of(validation, rule)
  own.sort(key=lambda policy: costs[first_reached(confidence, policy.thresholds)].mean())
  yield 'per_exit', own


def _joined(lines: Sequence[Line]) -> Curve:
  """The policies of all lines as one curve."""

  def together(all_points: Sequence[Points]) -> Points:
    return Points(
      np.concatenate([points.accuracy for points in all_points]),
      np.concatenate([points.leaving for points in all_points]),
      all_points[0].final_accuracy,
    )

  policies = tuple(policy for line in lines for policy in line.curve.policies)
  validation = together([line.curve.validation for line in lines])
  return Curve(policies, validation, together([line.curve.test for line in lines]))
