"""Durations with a unit: '300 steps', '20 epochs', '8%' of the phase they belong to."""

import math
import re

from mecl_jax.errors import UserError

# Steps of a phase: a learning rate for each of them takes 400 MB.
MOST_STEPS = 10**8
_FORM = re.compile(r'\s*([0-9]*\.?[0-9]+)\s*(steps?|epochs?|%)\s*')


def listed(text: str) -> tuple[str, ...]:
  """Splits a list in one text: '8%, 300 steps' into ('8%', '300 steps')."""
  return tuple(part.strip() for part in text.split(',') if part.strip())


def is_zero(text: str, *, field: str = 'a duration') -> bool:
  """Returns whether a duration in steps or epochs is exactly 0."""
  return not to_steps(text, epoch=1e9, field=field)


def to_steps(
  text: str, *, epoch: float, phase: int | None = None, field: str = 'a duration'
) -> int:
  """Converts a duration to optimiser steps, rounded to the nearest.

  >>> to_steps('8%', epoch=100.0, phase=1000)
  80

  Args:
    text: a number and its unit: 'steps', 'epochs', or '%' of the phase.
    epoch: steps in one epoch (training examples / batch size, not rounded).
    phase: steps in the phase; None if '%' is not allowed.
    field: name of the field, for the message.

  Raises:
    UserError: the text has no such form, its number is above 100,000,000, or '%' is not allowed.
  """
  match = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= 100 else None
  if not match:
    forms = "'300 steps' or '20 epochs'" if phase is None else "'300 steps', '20 epochs' or '8%'"
    raise UserError(f'{field} is {str(text)[:100]!r}; write it as {forms}')
  number, unit = float(match[1]), match[2]
  if number > MOST_STEPS:
    raise UserError(f'{field} is {text!r}; it must be at most {MOST_STEPS:,}')
  if unit == '%' and phase is None:
    raise UserError(f'{field} is {text!r}; it must be in steps or epochs')
  per_unit = {'s': 1, 'e': epoch, '%': (phase or 0) / 100}[unit[0]]
  return math.floor(number * per_unit + 0.5)
