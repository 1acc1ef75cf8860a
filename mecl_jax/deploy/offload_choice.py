"""Choice between ways to split a network: on validation, for a target."""

from collections.abc import Iterator, Mapping, Sequence
import math
import re
from typing import NamedTuple

import numpy as np

from mecl_jax.deploy.offload import Plan, Side, World, simulate, summary
from mecl_jax.deploy.runtime.wire import is_bottleneck
from mecl_jax.errors import UserError
from mecl_jax.evaluation.predictions import VALIDATION

DEVICE, EARLY, SERVER, SPLIT, BOTTLENECK, THRESHOLD, DEADLINE = KINDS = (
  'device only',
  'device, early exit',
  'server only',
  'static split',
  'bottleneck split',
  'threshold',
  'deadline',
)
THRESHOLDS = 24  # that are tried, at even quantiles of the confidence

# Name of a target: the column that it limits, and its unit.
LIMITS = {
  'latency': ('mean_ms', 'ms'),
  'p95': ('p95_ms', 'ms'),
  'energy': ('energy_mj', 'mJ'),
  'bytes': ('bytes', ''),
}


class Target(NamedTuple):
  """The most accurate policy is sought, whose column is at most `limit`; '' limits none."""

  column: str = ''
  limit: float = math.inf

  def excess(self, row: Mapping[str, float]) -> float:
    """Returns by how much a row is above the limit, 0 if it is not."""
    return max(0.0, row[self.column] - self.limit) if self.column else 0.0


class Found(NamedTuple):
  """A plan with its summary on validation, and whether it meets the target there.

  Attributes:
    right: bool [N], whether the answers to the validation images are right.
  """

  plan: Plan
  validation: dict[str, float]
  meets: bool
  right: np.ndarray


def parse_target(text: str) -> Target:
  """Reads `offload.target`.

  Raises:
    UserError: it is not valid.

  Examples:
    >>> parse_target('latency<=20ms')
    Target(column='mean_ms', limit=20.0)
  """
  if text.strip() == 'accuracy':
    return Target()
  found = re.fullmatch(r'\s*(\w+)\s*<=\s*([0-9.eE+-]+)\s*([A-Za-z]*)\s*', text)
  if found and found[1] in LIMITS and found[3] == LIMITS[found[1]][1]:
    try:
      limit = float(found[2])
    except ValueError:
      limit = math.nan
    if 0 <= limit < math.inf:
      return Target(LIMITS[found[1]][0], limit)
  raise UserError(
    f'offload.target is {text!r:.100}; write accuracy, or a limit of what an image takes:'
    ' latency<=20ms, p95<=20ms, energy<=5mJ or bytes<=1000'
  )


def candidates(validation: Side) -> dict[str, list[Plan]]:
  """Returns the plans of every kind that the network has; thresholds come from validation."""
  exits, ways = validation.exits, validation.server_classes
  ends = [(way, stop) for way in ways for stop in range(way.start, exits)]
  inner = [(way, stop) for way, stop in ends if way.start]
  early = _thresholds(validation, exits - 1)
  plans = {
    DEVICE: [Plan(DEVICE)],
    EARLY: [Plan(EARLY, threshold=threshold) for threshold in early],
    SERVER: [Plan(SERVER, way, stop) for way, stop in ends if not way.start],
    SPLIT: [Plan(SPLIT, way, stop) for way, stop in inner if not is_bottleneck(way.send_as)],
    BOTTLENECK: [Plan(BOTTLENECK, way, stop) for way, stop in inner if is_bottleneck(way.send_as)],
    THRESHOLD: [
      Plan(THRESHOLD, way, stop, threshold)
      for way, stop in inner
      for threshold in _thresholds(validation, way.start)
    ],
  }
  plans[DEADLINE] = [
    plan._replace(kind=DEADLINE, in_time=True)
    for kind in (SPLIT, BOTTLENECK, THRESHOLD)
    for plan in plans[kind]
  ]
  return {kind: of_kind for kind, of_kind in plans.items() if of_kind}


def _thresholds(validation: Side, exits: int) -> list[float]:
  """Returns quantiles of the confidence of the first so many exits."""
  if not exits:
    return []
  shares = np.linspace(0, 1, THRESHOLDS, endpoint=False)
  return np.unique(np.quantile(validation.confidence[:, :exits], shares)).tolist()


def choose(validation: Side, world: World, target: Target) -> dict[str, Found]:
  """Chooses the best plan of every kind on validation.

  Among those that meet the target, it is the fastest that is at most one standard error less
  accurate than the most accurate, and then the one with the fewest bytes: the most accurate of
  hundreds owes much to chance. If none of a kind meets the target, it is the nearest.

  Raises:
    UserError: it is another split.

  References:
    Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3: the rule of one
    standard error.
  """
  if validation.name != VALIDATION:
    raise UserError(f'policies are chosen on the validation split, not on {validation.name}')
  return {
    kind: _best([_measured(plan, validation, world, target) for plan in plans], target)
    for kind, plans in candidates(validation).items()
  }


def best(found: Mapping[str, Found], target: Target) -> Found | None:
  """Returns the best of all kinds by the same rule; None if none meets the target."""
  meeting = [each for each in found.values() if each.meets]
  return _best(meeting, target) if meeting else None


def _measured(plan: Plan, side: Side, world: World, target: Target) -> Found:
  outcome = simulate(plan, side, world)
  row = summary(outcome, side.labels, world.deadline_ms)
  return Found(plan, row, target.excess(row) == 0, outcome.classes == side.labels)


def _best(found: Sequence[Found], target: Target) -> Found:
  least = min(target.excess(each.validation) for each in found)
  nearest = [each for each in found if target.excess(each.validation) == least]
  top = max(nearest, key=lambda each: each.validation['accuracy'])
  return min((each for each in nearest if not _is_better(top, each)), key=_cost)


def _is_better(one: Found, other: Found) -> bool:
  """Returns whether one is more accurate by more than the standard error of the difference."""
  gains = one.right.astype(float) - other.right
  return bool(gains.mean() > gains.std() / math.sqrt(len(gains)))


def _cost(found: Found) -> tuple[float, ...]:
  row = found.validation
  return row['mean_ms'], row['bytes'], -row['accuracy']


def setting(plan: Plan, names: Sequence[str]) -> str:
  """Returns what a plan does, in words; `names` are those of the exits."""
  return '; '.join(_parts(plan, names))


def _parts(plan: Plan, names: Sequence[str]) -> Iterator[str]:
  if plan.threshold < math.inf:
    yield f'leaves at {plan.threshold:.4g}'
  if plan.way is None:
    yield f'at most to {names[-1]}'
  elif plan.way.start == 0:
    yield f'sends the image, {names[plan.stop]} answers'
  else:
    sent = f' as {plan.way.send_as}' if is_bottleneck(plan.way.send_as) else ''
    yield f'sends after {names[plan.way.start - 1]}{sent}, {names[plan.stop]} answers'
