"""Tables of dynamic inference: accuracy against costs for every rule, and the operating points."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mecl_jax.evaluation import calibration, curves
from mecl_jax.evaluation.choice import Choice, Line, Option, candidates
from mecl_jax.evaluation.costs import Costs
from mecl_jax.evaluation.intervals import difference_interval
from mecl_jax.evaluation.policies import first_reached
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import confidence_of
from mecl_jax.report.pages.page import Rows
from mecl_jax.report.rows import row, with_ends

AREAS_OF = ('budgeted', 'shared')  # ways that reach from cheap to dear; the others are few points

Lines = Mapping[bool, Sequence[Line]]  # before (False) and after (True) calibration


def dynamic_tables(
  choice: Choice,
  validation: Predicted,
  test: Predicted,
  temperatures: np.ndarray,
  costs: Costs,
  names: Sequence[str],
) -> dict[str, Rows]:
  """All tables of this file by their names.

  Args:
    choice: of `choose_policy`.
    validation, test, costs: of which it was made.
    temperatures: float [exits], fitted on validation.
    names: of the exits.

  Raises:
    UserError: temperatures are of another number of exits.
  """
  after = [calibration.scaled(temperatures, split) for split in (validation, test)]
  lines = {False: choice.lines, True: candidates(after[0], after[1], costs.macs)}
  return {
    'curve': curve_rows(lines, costs, names),
    'areas': areas_rows(lines, costs),
    'operating_points': operating_points_rows(choice, test, costs, names),
  }


def curve_rows(lines: Lines, costs: Costs, names: Sequence[str]) -> Rows:
  """A row per policy: what it is worth on both splits, and the share of test that leaves where."""
  return [
    values
    for calibrated, of_all in lines.items()
    for line in of_all
    for values in _line_rows(line, costs, names, calibrated)
  ]


def areas_rows(lines: Lines, costs: Costs) -> Rows:
  """A row per line: its mean test accuracy over the MACs that all lines here reach."""
  drawn = {
    (line.rule, line.thresholds, on): (line.curve.test.mean(costs.macs), line.curve.test.accuracy)
    for on, of_all in lines.items()
    for line in of_all
    if line.thresholds in AREAS_OF
  }
  areas, (low, high) = curves.areas(drawn)
  ends = {'low_macs': low, 'high_macs': high}
  return [
    row({'rule': rule, 'thresholds': way, 'calibrated': on, 'area': area} | ends)
    for (rule, way, on), area in areas.items()
  ]


def operating_points_rows(
  choice: Choice, test: Predicted, costs: Costs, names: Sequence[str]
) -> Rows:
  """A row per rule and way of thresholds that meets the wish; one of them is the chosen.

  `test_drop` is the final exit's accuracy less the policy's, on the test split, with the 95 %
  interval of the paired bootstrap over its examples. What is saved is a share of what the final
  exit takes when no other is asked; it is below 0 where asking the others costs more than that.
  """
  right = test.right()
  achieved = np.stack([_right_at_leaving(o, test, right) for o in choice.options], axis=-1)
  drops = difference_interval(right[:, -1:], achieved)
  name, value = (choice.target.name, choice.target.value) if choice.target else (None, None)
  rows = []
  for place, option in enumerate(choice.options):
    line, point = option
    values: dict[str, object] = {
      'rule': line.rule,
      'thresholds': line.thresholds,
      'chosen': option is choice.chosen,
      'wish': name,
      'wish_value': value,
      'validation_accuracy': point.validation_accuracy,
      'test_accuracy': point.test_accuracy,
    }
    values |= with_ends('test_drop', drops, place)
    values |= _paid(option, costs)
    values |= _per_exit('threshold', names[:-1], point.policy.thresholds)
    values |= _per_exit('leave', names, line.curve.test.leaving[point.index])
    rows.append(row(values))
  return rows


def _line_rows(line: Line, costs: Costs, names: Sequence[str], calibrated: bool) -> Rows:
  splits = {'validation': line.curve.validation, 'test': line.curve.test}
  columns: dict[str, np.ndarray] = {}
  for name, points in splits.items():
    columns |= {f'{name}_accuracy': points.accuracy, f'{name}_macs': points.mean(costs.macs)}
  if costs.ms is not None:
    columns |= {f'{name}_ms': points.mean(costs.ms) for name, points in splits.items()}
  columns |= _per_exit('leave', names, line.curve.test.leaving.T)
  of_line = {'rule': line.rule, 'thresholds': line.thresholds}
  return [
    row(
      of_line
      | {'index': index, 'calibrated': calibrated}
      | {name: values[index] for name, values in columns.items()}
    )
    for index in range(len(line.curve.policies))
  ]


def _right_at_leaving(option: Option, test: Predicted, right: np.ndarray) -> np.ndarray:
  """Whether an example is right where it leaves, bool [N]; `right` is that of all exits."""
  policy = option.point.policy
  at = first_reached(confidence_of(test, policy.rule), policy.thresholds)
  return right[np.arange(len(at)), at]


def _paid(option: Option, costs: Costs) -> dict[str, float]:
  """What an example costs on average, and the share saved."""
  curve, index = option.line.curve, option.point.index
  validation, test = (p.mean(costs.macs)[index] for p in (curve.validation, curve.test))
  paid = {'validation_macs': validation, 'test_macs': test}
  paid['macs_saved'] = 1 - test / costs.final_macs
  if costs.ms is not None:
    paid['test_ms'] = curve.test.mean(costs.ms)[index]
    paid['ms_saved'] = 1 - paid['test_ms'] / costs.final_ms
  return paid


def _per_exit(what: str, names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
  """A column for each exit; values [exits, ...]."""
  return {f'{what}:{name}': value for name, value in zip(names, values, strict=True)}
