"""The pacing of every exit, from the configuration."""

from collections.abc import Sequence
import math
from typing import Any

from ml_collections import ConfigDict

from mecl_jax.curriculum import pacing
from mecl_jax.curriculum.pacing import Pacing
from mecl_jax.durations import listed, to_steps
from mecl_jax.errors import UserError, choose

PER_EXIT = ('shared', 'scaled', 'own')

_NUMBERS = ('start', 'increase')
_SETTINGS = (*_NUMBERS, 'step_length', 'boundaries', 'full_after')
# All of `curriculum` that shapes how the visible share grows.
FIELDS = ('max_share', 'pacing', *_SETTINGS, 'per_exit', 'exit_factors', 'exit_pacings')


def check(settings: ConfigDict) -> None:
  """Raises UserError where `curriculum.per_exit` and its fields do not fit together."""
  for per_exit, field in (('scaled', 'exit_factors'), ('own', 'exit_pacings')):
    given = settings[field] not in ('', (1.0,))
    if given and settings.per_exit != per_exit:
      raise UserError(f'curriculum.{field} needs curriculum.per_exit={per_exit}')
    if settings.per_exit == per_exit and not given:
      raise UserError(f'curriculum.per_exit={per_exit} needs curriculum.{field}')
  if settings.exit_pacings:
    for text in settings.exit_pacings.split(','):
      _parse(text)
  if settings.pacing == 'varied_exponential':
    _boundaries(settings.boundaries)


def make_pacings(
  settings: ConfigDict, exits: Sequence[str], *, steps: int, epoch: float
) -> dict[str, Pacing]:
  """The pacing of every exit of a network, capped at `max_share`.

  Args:
    settings: the group `curriculum`.
    exits: names of all exits, earliest first.
    steps: of the phase.
    epoch: steps in one epoch.

  Raises:
    UserError: not as many factors or pacings as there are exits.
  """

  def make(name: str, changes: dict[str, Any]) -> Pacing:
    values = {key: settings[key] for key in _SETTINGS} | changes
    wanted = {key: _in_steps(key, values[key], steps, epoch) for key in pacing.arguments(name)}
    return pacing.capped(pacing.make(name, **wanted), settings.max_share)

  if settings.per_exit == 'own':
    made = [make(*_parse(text)) for text in settings.exit_pacings.split(',')]
    return spread(made, exits, 'curriculum.exit_pacings')
  shared = make(settings.pacing, {})
  if settings.per_exit == 'shared':
    return dict.fromkeys(exits, shared)
  factors = spread(settings.exit_factors, exits, 'curriculum.exit_factors')
  # Capped again: a factor above 1 must not show what is never shown.
  return {
    name: pacing.capped(pacing.scaled(shared, factor), settings.max_share)
    for name, factor in factors.items()
  }


def spread(given: Sequence[Any], exits: Sequence[str], field: str) -> dict[str, Any]:
  """One value per exit, or one for all of them, by name of the exit.

  Raises:
    UserError: neither one nor as many as there are exits.
  """
  if len(given) not in (1, len(exits)):
    raise UserError(f'{field} has {len(given)} values; give 1, or {len(exits)}: {", ".join(exits)}')
  values = tuple(given) * len(exits) if len(given) == 1 else given
  return dict(zip(exits, values, strict=True))


def _parse(text: str) -> tuple[str, dict[str, Any]]:
  """'root start=0.1 full_after=90%' as ('root', {'start': 0.1, 'full_after': '90%'})."""
  words = text.split()
  name = choose('a pacing of curriculum.exit_pacings', ''.join(words[:1]), pacing.PACINGS)
  valid = pacing.arguments(name)
  values: dict[str, Any] = {}
  for word in words[1:]:
    key, _, value = word.partition('=')
    choose(f'a setting of {text!r} in curriculum.exit_pacings', key, valid)
    if key in values:
      raise UserError(f'{key} is given twice in {text!r} of curriculum.exit_pacings')
    if key in _NUMBERS:
      values[key] = _number(key, value, text)
    else:
      values[key] = value.replace(';', ',')  # between boundaries, as a comma parts the exits
      for duration in _boundaries(values[key]) if key == 'boundaries' else (value,):
        field = f'{key} of {text!r} in curriculum.exit_pacings'
        if not to_steps(duration, epoch=10**9, phase=10**9, field=field):
          raise UserError(f'{field} is {duration!r}; it must be above 0')
  return name, values


def _number(key: str, value: str, text: str) -> float:
  lowest, what = {'start': (0, 'above 0, at most 1'), 'increase': (1, 'above 1')}[key]
  try:
    number = float(value)
    if not lowest < number < math.inf or (key == 'start' and number > 1):
      raise ValueError
  except ValueError:
    raise UserError(
      f'{key} of {text!r} in curriculum.exit_pacings is {value!r}; it must be {what}'
    ) from None
  return number


def _boundaries(text: str) -> tuple[str, ...]:
  boundaries = listed(text)
  if not boundaries:
    raise UserError('curriculum.boundaries is empty; write it as: 10%, 300 steps')
  return boundaries


def _in_steps(key: str, value: Any, steps: int, epoch: float) -> Any:
  """Durations as numbers of steps, at least one."""
  if key in _NUMBERS:
    return value

  def convert(text: str) -> int:
    return max(1, to_steps(text, epoch=epoch, phase=steps, field=f'curriculum.{key}'))

  return tuple(map(convert, listed(value))) if key == 'boundaries' else convert(value)
