"""The result of a simulation of energy: rows for each policy, and over time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mecl_jax.deploy.energy import (
  BUDGETS,
  GREEDY,
  REPETITIONS,
  RESERVE,
  STORE,
  THRESHOLD,
  Device,
  Plan,
  choose_reserve,
  repeat,
)
from mecl_jax.evaluation.intervals import LEVEL, Interval
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import Predicted

MOST_POINTS = 336  # of a line of the figure

Rows = list[dict[str, Any]]


class Simulated(NamedTuple):
  """The result of a simulation.

  Attributes:
    reserve: the plan that was chosen on validation.
    rows: a row for each supply and plan, with the range of 95 % of the repetitions.
    trace: rows of the store's level and answers over time, for each plan.
  """

  reserve: Plan
  rows: Rows
  trace: Rows


def simulate(
  validation: Predicted,
  test: Predicted,
  policy: Policy,
  device: Device,
  unit: str,
  on_repetition: Callable[[], None] = lambda: None,
) -> Simulated:
  """Simulates all plans on the test split; the reserve is chosen on validation.

  Args:
    validation, test: predictions of the two splits.
    policy: by which images leave early.
    device: that is simulated.
    unit: of all amounts.
    on_repetition: is called before each repetition.

  Raises:
    UserError: the splits are exchanged, or the policy is for another number of exits.
  """
  reserve = choose_reserve(validation, policy.leaves_at(validation.logits), device, on_repetition)
  leaving, simple = policy.leaves_at(test.logits), [Plan(GREEDY, False), Plan(THRESHOLD, True)]
  rows, trace = Rows(), Rows()
  for supply, plans in ((STORE, [*simple, reserve]), (BUDGETS, simple)):
    if supply == BUDGETS and device.budgets is None:
      continue
    found = [
      repeat(test, leaving, device, plan, supply, REPETITIONS, on_repetition) for plan in plans
    ]
    for plan, each in zip(plans, found, strict=True):
      rows.append(_row(supply, plan, each.values, found[0].values, unit))
      if supply == STORE:
        trace += _trace_rows(plan, device.income, each.intervals, unit)
  return Simulated(reserve, rows, trace)


def _row(
  supply: str, plan: Plan, values: dict[str, np.ndarray], greedy: dict[str, np.ndarray], unit: str
) -> dict[str, Any]:
  """Returns the row of a plan: means over the repetitions, with 95 % intervals."""
  drop = greedy['right_share'] - values['right_share']
  return {
    **{'supply': supply, 'policy': plan.name, 'by_rule': plan.by_rule},
    'reserve': plan.reserve if plan.name == RESERVE else None,
    **_columns('right_share', values['right_share']),
    **_columns('right_drop', drop if plan.name != GREEDY else drop[:0]),
    **_columns('answered_accuracy', values['answered_accuracy']),
    **_columns('missed_share', values['missed_share']),
    **_columns(f'used:{unit}', values['used']),
    f'lost:{unit}': float(values['lost'].mean()) if supply == STORE else None,
    'mean_exit': _columns('mean_exit', values['mean_exit'])['mean_exit'],
  }


def _columns(name: str, values: np.ndarray) -> dict[str, float | None]:
  known = values[~np.isnan(values)]
  if not len(known):
    return dict.fromkeys((name, f'{name}_low', f'{name}_high'))
  mean, ends = known.mean(), np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
  # Equal values and their mean differ by rounding.
  interval = Interval(mean, *np.where(np.isclose(ends, mean, rtol=1e-9, atol=0), mean, ends))
  return dict(zip((name, f'{name}_low', f'{name}_high'), map(float, interval), strict=True))


def _trace_rows(plan: Plan, income: np.ndarray, means: dict[str, np.ndarray], unit: str) -> Rows:
  """Returns a row for each part of the trace; parts have equally many intervals.

  Income, level and right answers are means over the part; missed images are counted up to its end.
  """
  starts = np.arange(0, len(income), -(-len(income) // MOST_POINTS))
  ends = np.append(starts[1:], len(income))
  columns = {f'income:{unit}': income, f'level:{unit}': means['level']}
  columns['right_share'] = means['right_share']
  parts = {n: np.add.reduceat(values, starts) / (ends - starts) for n, values in columns.items()}
  parts['missed_so_far'] = np.cumsum(means['missed_share'])[ends - 1]
  return [
    {'policy': plan.name, 'interval': int(start)}
    | {name: float(values[k]) for name, values in parts.items()}
    for k, start in enumerate(starts)
  ]
