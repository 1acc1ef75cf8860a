"""Pacing: functions `step -> share` of the training set that is visible, in (0, 1].

Made by factories, as optax makes its schedules, so that they are plotted, joined and tested alike.
Steps are those of the phase that the curriculum is in, from 0.
"""

from collections.abc import Callable

Pacing = Callable[[int], float]

PACINGS = ('fixed_exponential', 'constant')


def constant(share: float = 1.0) -> Pacing:
  """The same share at every step; 1.0 is training without a curriculum."""
  return lambda step: share


def fixed_exponential(start: float = 0.04, increase: float = 1.9, step_length: int = 100) -> Pacing:
  """`min(start * increase ** floor(step / step_length), 1)`.

  Args:
    start: share that is visible at step 0, in (0, 1].
    increase: factor, above 1, by which the share grows.
    step_length: optimiser steps between two growths, at least 1.

  References:
    Hacohen and Weinshall, "On The Power of Curriculum Learning in Training Deep Networks", ICML
    2019, arXiv 1904.03626; the defaults are the constants of the authors' code.
  """

  def share(step: int) -> float:
    try:
      return min(start * increase ** (step // step_length), 1.0)
    except OverflowError:  # hundreds of growths: everything has long been visible
      return 1.0

  return share
