"""Simulates a device that answers from a store of energy, or within a budget for each image.

An image comes in every interval. How deep it may go is decided by `runtime/store.py`, as on a
device; where it leaves by an exit rule, and whether the answer is right, comes from predictions.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from mecl_jax.deploy.runtime.store import Store
from mecl_jax.evaluation.intervals import LEVEL, Interval
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import Predicted, check_validation

GREEDY, THRESHOLD, RESERVE = 'greedy', 'threshold', 'reserve'
STORE, BUDGETS = 'store', 'budgets'  # what pays for the images
SHARES = tuple(k / 10 for k in range(1, 10))  # of the capacity, of which the reserve is chosen
REPETITIONS = 100  # of the trace, on test; each with other images
REPETITIONS_TO_CHOOSE = 10  # on validation, for each reserve
DAY = 96  # intervals of a made-up day: quarters of an hour
MOST_POINTS = 336  # of a line of the figure

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Device:
  """What is simulated; all amounts are in one unit.

  Attributes:
    costs: of each segment for one image, first to last.
    wake: cost of an answer besides its segments.
    capacity: of the store.
    level: of the store at the start.
    income: float64 [intervals], added before the image of each interval.
    budgets: float64 [N], of N images; None: they are not simulated.
  """

  costs: tuple[float, ...]
  wake: float
  capacity: float
  level: float
  income: np.ndarray
  budgets: np.ndarray | None = None


class Plan(NamedTuple):
  """How energy is spent.

  Attributes:
    name: 'greedy', 'threshold' or 'reserve'.
    by_rule: whether images leave early by an exit rule; else they go as deep as they may.
    reserve: share of the capacity that must be left if more than the first segment runs.
  """

  name: str
  by_rule: bool
  reserve: float = 0.0


class Trace(NamedTuple):
  """What happens in each interval; arrays [intervals], or their means over repetitions.

  Attributes:
    exits: int, numbers of the exits that answer, from 0; -1 where the image is missed.
    levels: of the store after the image.
    used: for the image.
    lost: because the store was full.
  """

  exits: np.ndarray
  levels: np.ndarray
  used: np.ndarray
  lost: np.ndarray


class Repeated(NamedTuple):
  """Repetitions of a trace, each with other images.

  Attributes:
    values: float64 [repetitions] for each column of a row, nan where it is not defined.
    intervals: float64 [intervals] by name, means over the repetitions: `level`, and the shares of
      `missed_share` and `right_share`.
  """

  values: dict[str, np.ndarray]
  intervals: dict[str, np.ndarray]


def daylight(mean: float, intervals: int) -> np.ndarray:
  """Returns a made-up income of light, which is the same every day.

  A day has `DAY` intervals and begins at midnight. Light comes from 6 to 18 h, as half a sine wave.

  Args:
    mean: per interval, over whole days.
    intervals: number of them.

  Returns:
    float64 [intervals].
  """
  turn = 2 * np.pi * (np.arange(intervals) + 0.5) / DAY
  return mean * np.pi * np.maximum(0, -np.cos(turn))


def run_trace(
  store: Store, fill: Callable[[float], float], amounts: np.ndarray, most: np.ndarray
) -> Trace:
  """Runs a trace: an amount is filled in, and then an image is answered or missed.

  Args:
    store: as it is at the start; it is changed.
    fill: `store.add` or `store.refill`.
    amounts: float [intervals].
    most: int [intervals], segments that the image of each interval runs if they can be paid.
  """
  rows = []
  for amount, segments in zip(amounts.tolist(), most.tolist(), strict=True):
    lost = fill(amount)
    ran = min(store.segments(), segments)
    used = store.pay(ran)
    rows.append((ran - 1, store.level, used, lost))
  exits, *others = np.array(rows).T
  return Trace(exits.astype(int), *others)


def repeat(
  split: Predicted,
  leaving: np.ndarray,
  device: Device,
  plan: Plan,
  supply: str = STORE,
  repetitions: int = REPETITIONS,
  on_repetition: Callable[[], None] = lambda: None,
) -> Repeated:
  """Repeats a trace with other images of the same kind.

  Each repetition draws the images from examples that are themselves drawn from the split, so that
  the repetitions differ as traces with images of another split of this size would. Repetition k has
  the same images for every plan.

  Args:
    split: predictions of the images.
    leaving: int [N], the exits at which they leave by the rule.
    device: that is simulated.
    plan: how energy is spent.
    supply: 'store' or 'budgets'.
    repetitions: their number.
    on_repetition: is called before each.
  """
  amounts = device.income if supply == STORE or device.budgets is None else device.budgets
  right, examples, intervals = split.right(), len(split.labels), len(amounts)
  rows = list[dict[str, float]]()
  sums = {name: np.zeros(intervals) for name in ('level', 'missed_share', 'right_share')}
  for seed in range(repetitions):
    on_repetition()
    draw = np.random.default_rng(seed)
    images = draw.integers(examples, size=examples)[draw.integers(examples, size=intervals)]
    most = leaving[images] + 1 if plan.by_rule else np.full(intervals, split.exits)
    store = _store(device, plan, supply)
    trace = run_trace(store, store.add if supply == STORE else store.refill, amounts, most)
    is_missed = trace.exits < 0
    is_right = right[images, trace.exits] & ~is_missed
    rows.append(_values(trace, is_right, is_missed))
    for name, values in zip(sums, (trace.levels, is_missed, is_right), strict=True):
      sums[name] += values
  return Repeated(
    {name: np.array([row[name] for row in rows]) for name in rows[0]},
    {name: values / repetitions for name, values in sums.items()},
  )


def _store(device: Device, plan: Plan, supply: str) -> Store:
  if supply == BUDGETS:
    return Store(device.costs, wake=device.wake)
  reserve = plan.reserve * device.capacity
  return Store(device.costs, device.capacity, device.level, device.wake, reserve)


def _values(trace: Trace, is_right: np.ndarray, is_missed: np.ndarray) -> dict[str, float]:
  """Returns the columns of one repetition."""
  answered = int((~is_missed).sum())
  return {
    'answered_accuracy': is_right.sum() / answered if answered else math.nan,
    'right_share': is_right.mean(),
    'missed_share': is_missed.mean(),
    'used': trace.used.mean(),
    'lost': trace.lost.mean(),
    'mean_exit': 1 + trace.exits[~is_missed].mean() if answered else math.nan,
  }


def choose_reserve(
  validation: Predicted,
  leaving: np.ndarray,
  device: Device,
  on_repetition: Callable[[], None] = lambda: None,
) -> Plan:
  """Chooses the reserve, and whether images leave by the rule, on the validation split.

  Returns:
    the plan with the most right answers among all images; if equal, the one that uses the least.

  Raises:
    UserError: the split is not the validation split.
  """
  check_validation(validation)
  plans = [Plan(RESERVE, by_rule, share) for by_rule in (True, False) for share in SHARES]

  def merit(plan: Plan) -> tuple[float, float]:
    settings = (STORE, REPETITIONS_TO_CHOOSE, on_repetition)
    values = repeat(validation, leaving, device, plan, *settings).values
    return float(values['right_share'].mean()), -float(values['used'].mean())

  return max(plans, key=merit)


class Simulated(NamedTuple):
  """The result of a simulation.

  Attributes:
    reserve: the plan that was chosen on validation.
    rows: a row for each supply and plan, see `COLUMNS` of `energy_file`.
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
  interval = Interval(mean, np.minimum(ends[0], mean), np.maximum(ends[1], mean))
  return dict(zip((name, f'{name}_low', f'{name}_high'), map(float, interval), strict=True))


def _trace_rows(plan: Plan, income: np.ndarray, means: dict[str, np.ndarray], unit: str) -> Rows:
  """Returns a row for each part of the trace; parts have equally many intervals."""
  starts = np.arange(0, len(income), -(-len(income) // MOST_POINTS))
  columns = {f'income:{unit}': income, f'level:{unit}': means['level']}
  columns |= {name: means[name] for name in ('missed_share', 'right_share')}
  sizes = np.diff([*starts, len(income)])
  parts = {name: np.add.reduceat(values, starts) / sizes for name, values in columns.items()}
  return [
    {'policy': plan.name, 'interval': int(start)}
    | {name: float(values[k]) for name, values in parts.items()}
    for k, start in enumerate(starts)
  ]


def full_cost(costs: Sequence[float], wake: float) -> float:
  """Returns what the answer of the last exit costs."""
  return sum(costs) + wake
