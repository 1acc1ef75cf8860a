"""Tables of the exits: accuracy and cost, calibration, overthinking, agreement, ensembles."""

from collections.abc import Mapping, Sequence

import numpy as np

from mecl_jax.evaluation import calibration, calibration_error, metrics, overthinking
from mecl_jax.evaluation.costs import dynamic_macs
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.predictions import Predicted, check_same_exits
from mecl_jax.models import ExitCost
from mecl_jax.report.rows import Row, Rows, row, with_ends

NEVER = 'never'  # in place of an exit: no exit is right


def exit_tables(
  test: Predicted,
  found: Mapping[str, Interval],
  temperatures: np.ndarray,
  costs: Sequence[ExitCost],
) -> dict[str, Rows]:
  """Returns all tables of this module by name.

  Args:
    test: predictions of the test split.
    found: metrics of the exits on the test split, see `exit_metrics`.
    temperatures: float [exits], fitted on validation.
    costs: of all exits, earliest first; the tables take the names of the exits from here.

  Raises:
    UserError: there is not one temperature and one cost per exit.
  """
  names = [cost.name for cost in costs]
  check_same_exits('costs', len(costs), test.exits)
  return {
    'exits': exits_rows(found, costs),
    'calibration': calibration_rows(test, temperatures, names),
    'reliability': reliability_rows(test, temperatures, names),
    'overthinking': overthinking_rows(test),
    'first_correct': first_correct_rows(test, names),
    'agreement': agreement_rows(test, names),
    'ensembles': ensembles_rows(test, names),
  }


def exits_rows(found: Mapping[str, Interval], costs: Sequence[ExitCost]) -> Rows:
  """Returns a row per exit: its metrics with their 95 % intervals, and its costs.

  `macs` are those of the exit alone, `dynamic_macs` those of an example that leaves there and has
  passed the heads of all earlier exits.
  """
  rows = []
  for k, (cost, dynamic) in enumerate(zip(costs, dynamic_macs(costs), strict=True)):
    values: dict[str, object] = {'exit': cost.name, 'stage': cost.stage, 'head': cost.head}
    for name, interval in found.items():
      values |= with_ends(name, interval, k)
    values |= {'macs': cost.macs, 'dynamic_macs': dynamic}
    values |= {'head_macs': cost.head_macs, 'parameters': cost.parameters}
    rows.append(row(values))
  return rows


def calibration_rows(test: Predicted, temperatures: np.ndarray, names: Sequence[str]) -> Rows:
  """Returns a row per exit: its temperature, and metrics before and after temperature scaling.

  `at_bound` is True if the temperature is a bound of the search: the best one lies outside. The ECE
  has its 95 % interval.
  """
  effect = calibration.effect(temperatures, test.logits, test.labels)._asdict()
  scaled = calibration.scaled(temperatures, test)
  intervals = {
    'ece_before': calibration_error.ece_interval(test.logits, test.labels),
    'ece_after': calibration_error.ece_interval(scaled.logits, test.labels),
  }
  ends = (calibration.LOWEST, calibration.HIGHEST)
  rows = []
  for k, (name, temperature) in enumerate(zip(names, temperatures, strict=True)):
    values = {'exit': name, 'temperature': temperature, 'at_bound': bool(temperature in ends)}
    values |= {measure: of_exits[k] for measure, of_exits in effect.items()}
    for measure, interval in intervals.items():
      values |= with_ends(measure, interval, k)
    rows.append(row(values))
  return rows


def reliability_rows(test: Predicted, temperatures: np.ndarray, names: Sequence[str]) -> Rows:
  """Returns a row per exit, bin of confidence, and before and after calibration.

  Confidence and accuracy are None in an empty bin.
  """
  splits = {False: test, True: calibration.scaled(temperatures, test)}
  bins_of = {on: calibration_error.reliability(s.logits, s.labels) for on, s in splits.items()}
  edges = np.linspace(0, 1, metrics.BINS + 1)
  rows = []
  for k, name in enumerate(names):
    for calibrated, bins in bins_of.items():
      for b, values in enumerate(zip(*(of_all[k] for of_all in bins), strict=True)):
        place = {
          'exit': name,
          'calibrated': calibrated,
          'bin_low': edges[b],
          'bin_high': edges[b + 1],
        }
        rows.append(row(place | dict(zip(bins._fields, values, strict=True))))
  return rows


def overthinking_rows(test: Predicted) -> Rows:
  """Returns a row per measure of overthinking; see `overthinking.shares`."""
  shares = overthinking.shares(test.logits, test.labels)._asdict()
  return [row({'measure': name, 'share': share}) for name, share in shares.items()]


def first_correct_rows(test: Predicted, names: Sequence[str]) -> Rows:
  """Returns the share of examples for which each exit is the first that is right.

  The last row is the share for which no exit is right.
  """
  shares = overthinking.first_correct_counts(test.logits, test.labels) / len(test.labels)
  return [
    row({'exit': name, 'share': share}) for name, share in zip([*names, NEVER], shares, strict=True)
  ]


def agreement_rows(test: Predicted, names: Sequence[str]) -> Rows:
  """Returns a row per ordered pair of exits, equal ones included; see `overthinking.co_errors`."""
  same = overthinking.agreement(test.logits)
  errors = overthinking.co_errors(test.logits, test.labels)

  def pair(i: int, j: int) -> Row:
    shares = {'same_class': same[i, j], 'both_wrong': errors.share[i, j]}
    return row({'exit': names[i], 'other': names[j]} | shares | {'ratio': errors.ratio[i, j]})

  return [pair(i, j) for i in range(len(names)) for j in range(len(names))]


def ensembles_rows(test: Predicted, names: Sequence[str]) -> Rows:
  """Returns a row per exit: accuracy and NLL of the exit alone and of all exits up to it."""
  logits = {
    'single': test.logits,
    'arithmetic': overthinking.running_mean(test.logits),
    'geometric': overthinking.running_geometric_mean(test.logits),
  }
  accuracies = {name: metrics.correct(z, test.labels).mean(axis=0) for name, z in logits.items()}
  nlls = {f'nll_{name}': metrics.losses(z, test.labels).mean(axis=0) for name, z in logits.items()}
  columns = accuracies | nlls
  return [
    row({'exit': exit_name} | {name: values[k] for name, values in columns.items()})
    for k, exit_name in enumerate(names)
  ]
