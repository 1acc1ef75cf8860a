"""Tables of early exit: accuracy against cost for every rule, and the operating points."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mecl_jax.evaluation import calibration, curves
from mecl_jax.evaluation.choice import Choice, Line, Option, candidates
from mecl_jax.evaluation.costs import Costs
from mecl_jax.evaluation.intervals import difference_interval, proportion_difference_interval
from mecl_jax.evaluation.policies import first_reached
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import FIXED, confidence_of
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS, Shown
from mecl_jax.report.rows import Rows, row, with_ends

# Kinds of thresholds whose policies cover the whole range of costs; the others are a few points.
AREAS_OF = ('budgeted', 'shared')

Lines = Mapping[bool, Sequence[Line]]  # before (False) and after (True) calibration


def dynamic_tables(
  choice: Choice,
  validation: Predicted,
  test: Predicted,
  temperatures: np.ndarray,
  costs: Costs,
  names: Sequence[str],
) -> dict[str, Rows]:
  """Returns the tables `curve`, `areas` and `operating_points`.

  Args:
    choice: returned by `choose_policy` or `given_policy`.
    validation, test, costs: the arguments of that function.
    temperatures: float [exits], fitted on validation.
    names: of the exits.

  Raises:
    UserError: there is not one temperature per exit.
  """
  after = [calibration.scaled(temperatures, split) for split in (validation, test)]
  calibrated = [line for line in candidates(after[0], after[1], costs.macs) if line.rule != FIXED]
  lines = {False: choice.lines, True: calibrated}
  return {
    'curve': curve_rows(lines, costs, names),
    'areas': areas_rows(lines, costs),
    'operating_points': operating_points_rows(choice, test, costs, names),
  }


def task_tables(
  choice: Choice, test: Predicted, costs: Costs, names: Sequence[str]
) -> dict[str, Rows]:
  """Returns the tables `curve` and `operating_points` of a task without temperatures.

  Args:
    choice, test, costs, names: as of `dynamic_tables`.
  """
  return {
    'curve': curve_rows({False: choice.lines}, costs, names, TASKS[test.task].shown),
    'operating_points': operating_points_rows(choice, test, costs, names),
  }


def curve_rows(
  lines: Lines, costs: Costs, names: Sequence[str], shown: Shown = CLASSIFICATION.shown
) -> Rows:
  """Returns a row per policy: accuracy and costs, and the share of test images per exit."""
  return [
    values
    for calibrated, of_all in lines.items()
    for line in of_all
    for values in _line_rows(line, costs, names, calibrated, shown)
  ]


def areas_rows(lines: Lines, costs: Costs) -> Rows:
  """Returns a row per line: its mean test accuracy over the range of MACs that all lines share."""
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
  """Returns a row per fixed exit, and per rule and kind of thresholds, that meets the target.

  One row is the chosen. The thresholds of a fixed exit are its name. `test_drop` is the test
  accuracy of the final exit minus that of the policy, with a paired 95 % interval over images; of
  regression, `test_rise` is the error of the policy minus that of the final exit.
  `macs_saved` and `ms_saved` are shares of the cost of the final exit alone, without any other
  head; they are negative if early exit costs more.
  """
  quality, shown = test.quality(), TASKS[test.task].shown
  achieved = np.stack([_at_leaving(o, test, quality) for o in choice.options], axis=-1)
  is_right = quality.dtype == bool
  interval = proportion_difference_interval if is_right else difference_interval
  drops = interval(quality[:, -1:], achieved)
  is_final = [o.point.policy.fixed_exit == test.exits - 1 for o in choice.options]
  for part in drops:
    part[is_final] = 0.0  # the final exit does not differ from itself
  name, value = (choice.target.name, choice.target.value) if choice.target else (None, None)
  rows = []
  for place, option in enumerate(choice.options):
    line, point = option
    values: dict[str, object] = {
      'rule': line.rule,
      'thresholds': _thresholds(line, point.index, names),
      'chosen': option is choice.chosen,
      'target': name,
      'target_value': value,
      f'validation_{shown.column}': shown.sign * point.validation_accuracy,
      f'test_{shown.column}': shown.sign * point.test_accuracy,
    }
    values |= with_ends(shown.loss, drops, place)
    values |= _paid(option, costs)
    values |= _per_exit('threshold', names[:-1], point.policy.thresholds)
    values |= _per_exit('leave', names, line.curve.test.leaving[point.index])
    rows.append(row(values))
  return rows


def _line_rows(
  line: Line, costs: Costs, names: Sequence[str], calibrated: bool, shown: Shown
) -> Rows:
  splits = {'validation': line.curve.validation, 'test': line.curve.test}
  columns: dict[str, np.ndarray] = {}
  for name, points in splits.items():
    columns |= {f'{name}_{shown.column}': shown.sign * points.accuracy}
    columns |= {f'{name}_macs': points.mean(costs.macs)}
  if costs.ms is not None:
    columns |= {f'{name}_ms': points.mean(costs.ms) for name, points in splits.items()}
  columns |= _per_exit('leave', names, line.curve.test.leaving.T)
  return [
    row(
      {'rule': line.rule, 'thresholds': _thresholds(line, index, names)}
      | {'index': index, 'calibrated': calibrated}
      | {name: values[index] for name, values in columns.items()}
    )
    for index in range(len(line.curve.policies))
  ]


def _thresholds(line: Line, index: int, names: Sequence[str]) -> str:
  """Returns how the thresholds of a policy were found; the name of the exit if it is fixed."""
  exit_number = line.curve.policies[index].fixed_exit
  return line.thresholds if exit_number is None else names[exit_number]


def _at_leaving(option: Option, test: Predicted, quality: np.ndarray) -> np.ndarray:
  """Returns the quality of each example at the exit where it leaves, [N].

  Args:
    option: its policy decides where an example leaves.
    test: predictions of the test split.
    quality: [N, exits], `test.quality()`.
  """
  policy = option.point.policy
  at = first_reached(confidence_of(test, policy.rule), policy.thresholds)
  return quality[np.arange(len(at)), at]


def _paid(option: Option, costs: Costs) -> dict[str, float]:
  """Returns the mean cost per example, and the share that is saved."""
  curve, index = option.line.curve, option.point.index
  validation, test = (p.mean(costs.macs)[index] for p in (curve.validation, curve.test))
  paid = {'validation_macs': validation, 'test_macs': test}
  paid['macs_saved'] = 1 - test / costs.macs.fixed[-1]
  if costs.ms is not None:
    paid['test_ms'] = curve.test.mean(costs.ms)[index]
    paid['ms_saved'] = 1 - paid['test_ms'] / costs.ms.fixed[-1]
  return paid


def _per_exit(what: str, names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
  """Returns a column per exit; `values` is [exits, ...]."""
  return {f'{what}:{name}': value for name, value in zip(names, values, strict=True)}
