"""Pacing: functions `step -> share` of the training set that is visible, in (0, 1].

Each function below returns a pacing, as optax's schedule functions return schedules, so that all
pacings are plotted, combined and tested alike. The share of a pacing must not fall. Steps count
from the start of the phase. `start` is the share that is visible at step 0, `full_after` the number
of steps after which all examples are visible.

References:
  [HW] Hacohen and Weinshall, "On The Power of Curriculum Learning in Training Deep Networks", ICML
    2019, arXiv 1904.03626; the defaults are the constants of the authors' code.
  [WDN] Wu, Dyer and Neyshabur, "When Do Curricula Work?", ICLR 2021, arXiv 2012.03107; their `b` is
    `start`, their `a` is `full_after` as a share of all steps.
"""

import bisect
from collections.abc import Callable, Sequence
import inspect
import math

from mecl_jax.errors import UserError, choose

Pacing = Callable[[int], float]


def constant(share: float = 1.0) -> Pacing:
  """Returns a pacing with the same share at every step; 1.0 is training without a curriculum."""
  return lambda step: share


def fixed_exponential(start: float = 0.04, increase: float = 1.9, step_length: int = 100) -> Pacing:
  """Returns the pacing `min(start * increase ** floor(step / step_length), 1)` [HW].

  Args:
    start: share that is visible at step 0, in (0, 1].
    increase: factor, above 1, by which the share grows.
    step_length: optimiser steps between two growths, at least 1.
  """
  return lambda step: _grown(start, increase, step // step_length)


def varied_exponential(start: float, increase: float, boundaries: Sequence[int]) -> Pacing:
  """Returns a pacing that grows by the factor `increase` at each step in `boundaries` [HW]."""
  ascending = sorted(boundaries)
  return lambda step: _grown(start, increase, bisect.bisect_right(ascending, step))


def single_step(start: float = 0.04, step_length: int = 100) -> Pacing:
  """Returns a pacing of `start` before step `step_length`, and 1 from there on [HW]."""
  return lambda step: start if step < step_length else 1.0


def log(start: float, full_after: float) -> Pacing:
  """Returns `b + (1 - b) (1 + 0.1 ln(t / aT + e^-10))`: fast at first, then slow [WDN]."""
  return _continuous(start, full_after, lambda x: 1 + 0.1 * math.log(x + math.exp(-10)))


def exp(start: float, full_after: float) -> Pacing:
  """Returns `b + (1 - b) (e^(10 t / aT) - 1) / (e^10 - 1)`: slow at first, then fast [WDN]."""
  return _continuous(start, full_after, lambda x: math.expm1(10 * x) / math.expm1(10))


def step(start: float, full_after: float) -> Pacing:
  """Returns `b + floor(t / aT)`: `start`, and 1 from `full_after` on [WDN]."""
  return _continuous(start, full_after, math.floor)


def polynomial(start: float, full_after: float, power: float) -> Pacing:
  """Returns the pacing `b + (1 - b) (t / aT) ** power` [WDN]."""
  return _continuous(start, full_after, lambda x: x**power)


def root(start: float, full_after: float) -> Pacing:
  """Returns `polynomial` of power 1/2 [WDN]."""
  return polynomial(start, full_after, 0.5)


def linear(start: float, full_after: float) -> Pacing:
  """Returns `polynomial` of power 1 [WDN]."""
  return polynomial(start, full_after, 1)


def quadratic(start: float, full_after: float) -> Pacing:
  """Returns `polynomial` of power 2 [WDN]."""
  return polynomial(start, full_after, 2)


def capped(pacing: Pacing, share: float) -> Pacing:
  """Limits a pacing to `share`: the rest of the ranking is never shown."""
  return lambda step: min(pacing(step), share)


def scaled(pacing: Pacing, factor: float) -> Pacing:
  """Multiplies a pacing by `factor`, up to a share of 1."""
  return lambda step: min(factor * pacing(step), 1.0)


def largest(pacings: Sequence[Pacing]) -> Pacing:
  """Returns the pacing that has the largest share of several at every step."""
  different = tuple(dict.fromkeys(pacings))
  return lambda step: max(pacing(step) for pacing in different)


def _grown(start: float, increase: float, times: int) -> float:
  try:
    return min(start * increase**times, 1.0)
  except OverflowError:  # after hundreds of growths all examples have long been visible
    return 1.0


def _continuous(start: float, full_after: float, shape: Callable[[float], float]) -> Pacing:
  """Returns a pacing from `start` to 1 along `shape`, which maps 0 to 0 and 1 to 1."""

  def share(step: int) -> float:
    return min(start + (1 - start) * shape(min(step / full_after, 1.0)), 1.0)

  return share


def _constant(start: float) -> Pacing:
  return constant(start)


# A pacing's arguments are fields of `config.curriculum`, durations in steps.
_FACTORIES: dict[str, Callable[..., Pacing]] = {
  'constant': _constant,
  'fixed_exponential': fixed_exponential,
  'varied_exponential': varied_exponential,
  'single_step': single_step,
  'log': log,
  'exp': exp,
  'step': step,
  'root': root,
  'linear': linear,
  'quadratic': quadratic,
}
PACINGS = tuple(_FACTORIES)


def arguments(name: str) -> tuple[str, ...]:
  """Returns the names of the arguments of a pacing.

  Examples:
    >>> arguments('linear')
    ('start', 'full_after')

  Raises:
    UserError: there is no such pacing.
  """
  factory = _FACTORIES[choose('curriculum.pacing', name, PACINGS)]
  return tuple(inspect.signature(factory).parameters)


def make(name: str, **settings) -> Pacing:
  """Makes a pacing by name from its `arguments`, durations in steps.

  Examples:
    >>> make('linear', start=0.1, full_after=100)(50)
    0.55

  Raises:
    UserError: there is no such pacing.
  """
  arguments(name)
  return _FACTORIES[name](**settings)


def check(pacing: Pacing, *, steps: int, size: int, batch_size: int, name: str) -> None:
  """Checks a pacing at every step of its phase (at 10,000 steps of a longer phase).

  Args:
    pacing: to check.
    steps: of the phase.
    size: examples in the training set.
    batch_size: examples per step.
    name: of the pacing, for the message.

  Raises:
    UserError: a share is outside of (0, 1] or falls, or no whole batch is visible at the end.
  """
  every = max(1, steps // 10_000)
  before = 0.0
  for at in (*range(0, steps, every), steps - 1):
    share = pacing(at)
    if not 0 < share <= 1:
      raise UserError(
        f'pacing {name} is {share:.4g} at step {at:,}; a share must be above 0, at most 1'
      )
    if share < before:
      raise UserError(
        f'pacing {name} falls from {before:.4g} to {share:.4g} at step {at:,}; it must not fall'
      )
    before = share
  if before * size < batch_size * (1 - 1e-12):
    raise UserError(
      f'pacing {name} never shows one whole batch: at the end {before:.4g} of {size:,} examples are'
      f' visible, and a batch has {batch_size:,}'
    )
