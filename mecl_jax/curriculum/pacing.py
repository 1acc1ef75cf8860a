"""Pacing: functions `step -> share` of the training set that is visible, in (0, 1].

Made by factories, as optax makes its schedules, so that they are plotted, combined and tested
alike. Steps are those of the phase that the curriculum is in, from 0. `start` is the share that is
visible at step 0, `full_after` the number of steps after which everything is.

References:
  [HW] Hacohen and Weinshall, "On The Power of Curriculum Learning in Training Deep Networks", ICML
    2019, arXiv 1904.03626; the defaults are the constants of the authors' code.
  [WDN] Wu, Dyer and Neyshabur, "When Do Curricula Work?", ICLR 2021, arXiv 2012.03107; their `b` is
    `start`, their `a` is `full_after` as a share of all steps.
"""

import bisect
from collections.abc import Callable, Sequence
import math

from mecl_jax.errors import UserError, choose

Pacing = Callable[[int], float]


def constant(share: float = 1.0) -> Pacing:
  """The same share at every step; 1.0 is training without a curriculum."""
  return lambda step: share


def fixed_exponential(start: float = 0.04, increase: float = 1.9, step_length: int = 100) -> Pacing:
  """`min(start * increase ** floor(step / step_length), 1)` [HW].

  Args:
    start: share that is visible at step 0, in (0, 1].
    increase: factor, above 1, by which the share grows.
    step_length: optimiser steps between two growths, at least 1.
  """
  return lambda step: _grown(start, increase, step // step_length)


def varied_exponential(start: float, increase: float, boundaries: Sequence[int]) -> Pacing:
  """The share grows by the factor `increase` at every one of the steps `boundaries` [HW]."""
  ascending = sorted(boundaries)
  return lambda step: _grown(start, increase, bisect.bisect_right(ascending, step))


def single_step(start: float = 0.04, step_length: int = 100) -> Pacing:
  """`start` before step `step_length`, everything from there on [HW]."""
  return lambda step: start if step < step_length else 1.0


def log(start: float, full_after: float) -> Pacing:
  """`b + (1 - b) (1 + 0.1 ln(t / aT + e^-10))`: fast at first, then slow [WDN]."""
  return _continuous(start, full_after, lambda x: 1 + 0.1 * math.log(x + math.exp(-10)))


def exp(start: float, full_after: float) -> Pacing:
  """`b + (1 - b) (e^(10 t / aT) - 1) / (e^10 - 1)`: slow at first, then fast [WDN]."""
  return _continuous(start, full_after, lambda x: math.expm1(10 * x) / math.expm1(10))


def step(start: float, full_after: float) -> Pacing:
  """`b + floor(t / aT)`: `start`, and everything from `full_after` on [WDN]."""
  return _continuous(start, full_after, math.floor)


def polynomial(start: float, full_after: float, power: float) -> Pacing:
  """`b + (1 - b) (t / aT) ** power` [WDN]."""
  return _continuous(start, full_after, lambda x: x**power)


def root(start: float, full_after: float) -> Pacing:
  """`polynomial` of power 1/2 [WDN]."""
  return polynomial(start, full_after, 0.5)


def linear(start: float, full_after: float) -> Pacing:
  """`polynomial` of power 1 [WDN]."""
  return polynomial(start, full_after, 1)


def quadratic(start: float, full_after: float) -> Pacing:
  """`polynomial` of power 2 [WDN]."""
  return polynomial(start, full_after, 2)


def capped(pacing: Pacing, share: float) -> Pacing:
  """`pacing`, but never more than `share`: what lies beyond it is never shown."""
  return lambda step: min(pacing(step), share)


def scaled(pacing: Pacing, factor: float) -> Pacing:
  """`factor` times `pacing`, but never more than everything."""
  return lambda step: min(factor * pacing(step), 1.0)


def largest(pacings: Sequence[Pacing]) -> Pacing:
  """At every step the largest share of several."""
  different = tuple(dict.fromkeys(pacings))
  return lambda step: max(pacing(step) for pacing in different)


def _grown(start: float, increase: float, times: int) -> float:
  try:
    return min(start * increase**times, 1.0)
  except OverflowError:  # hundreds of growths: everything has long been visible
    return 1.0


def _continuous(start: float, full_after: float, shape: Callable[[float], float]) -> Pacing:
  """From `start` along a shape that goes from 0 at 0 to 1 at 1."""

  def share(step: int) -> float:
    return min(start + (1 - start) * shape(min(step / full_after, 1.0)), 1.0)

  return share


# name: (factory, the arguments that it takes)
_FACTORIES: dict[str, tuple[Callable[..., Pacing], tuple[str, ...]]] = {
  'constant': (lambda start: constant(start), ('start',)),
  'fixed_exponential': (fixed_exponential, ('start', 'increase', 'step_length')),
  'varied_exponential': (varied_exponential, ('start', 'increase', 'boundaries')),
  'single_step': (single_step, ('start', 'step_length')),
  'log': (log, ('start', 'full_after')),
  'exp': (exp, ('start', 'full_after')),
  'step': (step, ('start', 'full_after')),
  'root': (root, ('start', 'full_after')),
  'linear': (linear, ('start', 'full_after')),
  'quadratic': (quadratic, ('start', 'full_after')),
}
PACINGS = tuple(_FACTORIES)


def arguments(name: str) -> tuple[str, ...]:
  """Which settings a pacing takes: of start, increase, step_length, boundaries and full_after.

  Raises:
    UserError: there is no such pacing.
  """
  return _FACTORIES[choose('curriculum.pacing', name, PACINGS)][1]


def make(name: str, **settings) -> Pacing:
  """Makes a pacing by name from the settings that `arguments` tells, durations in steps."""
  arguments(name)
  return _FACTORIES[name][0](**settings)


def check(pacing: Pacing, *, steps: int, size: int, batch_size: int, name: str) -> None:
  """Makes sure that a pacing is one, at every step of its phase (at 10,000 of them, if longer).

  Args:
    pacing: the function.
    steps: of the phase.
    size: examples in the training set.
    batch_size: examples of a step.
    name: of the pacing, for the message.

  Raises:
    UserError: a share that is not in (0, 1] or falls, or not one whole batch in the end.
  """
  every = max(1, steps // 10_000)
  before = 0.0
  for at in (*range(0, steps, every), steps - 1):
    share = pacing(at)
    if not 0 < share <= 1:
      raise UserError(f'pacing {name} is {share:.4g} at step {at:,}; a share is above 0, at most 1')
    if share < before:
      raise UserError(
        f'pacing {name} falls from {before:.4g} to {share:.4g} at step {at:,}; it may only grow'
      )
    before = share
  if before * size < batch_size * (1 - 1e-12):
    raise UserError(
      f'pacing {name} never reaches one batch: in the end {before:.4g} of {size:,} examples are'
      f' visible, and a batch has {batch_size:,}'
    )
