"""Simulates a device that answers from a store of energy, or within a budget for each image.

An image comes in every interval. How deep it may go is decided by `runtime/store.py`, as on a
device; where it leaves by an exit rule, and whether the answer is right, comes from predictions.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import NamedTuple

import numpy as np

from mecl_jax.deploy.runtime.store import Store
from mecl_jax.evaluation.predictions import Predicted, check_validation

GREEDY, THRESHOLD, RESERVE = 'greedy', 'threshold', 'reserve'
STORE, BUDGETS = 'store', 'budgets'  # what pays for the images
SHARES = tuple(k / 10 for k in range(1, 10))  # of the capacity, of which the reserve is chosen
REPETITIONS = 100  # of the trace, on test; each with other images
REPETITIONS_TO_CHOOSE = 10  # on validation, for each reserve
DAY = 96  # intervals of a made-up day: quarters of an hour


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
