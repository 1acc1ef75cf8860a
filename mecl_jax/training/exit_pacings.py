"""The pacing of every exit, from the configuration."""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from mecl_jax.config import all_fields
from mecl_jax.config.valid import Duration, Valid
from mecl_jax.curriculum import pacing
from mecl_jax.curriculum.pacing import PACINGS, Pacing
from mecl_jax.durations import listed, to_steps
from mecl_jax.errors import UserError, choose

# Arguments of the pacings; each is a field of `curriculum`, whose kind says how to read it.
_ARGUMENTS = tuple(dict.fromkeys(name for made in PACINGS for name in pacing.arguments(made)))
_FIELDS = dict(all_fields())
_KINDS: dict[str, Valid] = {name: _FIELDS[f'curriculum.{name}'].valid for name in _ARGUMENTS}

# All fields of `curriculum` that shape how the visible share grows.
PACING_FIELDS = (*('max_share', 'pacing', *_ARGUMENTS, 'per_exit', 'exit_factors', 'exit_pacings'),)


def check(settings: ConfigDict) -> None:
  """Checks the fields of `curriculum` that shape the pacings against each other.

  Args:
    settings: the group `curriculum`, each field valid by itself.

  Raises:
    UserError: a field has no effect, is missing, or names no pacing.
  """
  for per_exit, field in (('scaled', 'exit_factors'), ('own', 'exit_pacings')):
    given = settings[field] not in ('', (1.0,))
    if given and settings.per_exit != per_exit:
      raise UserError(f'curriculum.{field} needs curriculum.per_exit={per_exit}')
    if settings.per_exit == per_exit and not given:
      raise UserError(f'curriculum.per_exit={per_exit} needs curriculum.{field}')
  if settings.exit_pacings:
    for text in settings.exit_pacings.split(','):
      _parse(text)
  for name in pacing.arguments(settings.pacing):
    if isinstance(settings[name], str) and not listed(settings[name]):
      raise UserError(f'curriculum.{name} is empty; write it as: 10%, 300 steps')


def make_pacings(
  settings: ConfigDict, exits: Sequence[str], *, steps: int, epoch: float
) -> dict[str, Pacing]:
  """Makes the pacing of every exit of a network, limited to `max_share`.

  Args:
    settings: the group `curriculum`.
    exits: names of all exits, earliest first.
    steps: of the phase.
    epoch: steps in one epoch.

  Raises:
    UserError: the number of factors or pacings is neither 1 nor that of the exits.
  """

  def make(name: str, changes: dict[str, Any]) -> Pacing:
    values = {key: changes.get(key, settings[key]) for key in pacing.arguments(name)}
    converted = {key: _in_steps(key, value, steps, epoch) for key, value in values.items()}
    return pacing.capped(pacing.make(name, **converted), settings.max_share)

  if settings.per_exit == 'own':
    made = [make(*_parse(text)) for text in settings.exit_pacings.split(',')]
    return spread(made, exits, 'curriculum.exit_pacings')
  shared = make(settings.pacing, {})
  if settings.per_exit == 'shared':
    return dict.fromkeys(exits, shared)
  factors = spread(settings.exit_factors, exits, 'curriculum.exit_factors')
  # Limited again: a factor above 1 must not show more than `max_share`.
  return {
    name: pacing.capped(pacing.scaled(shared, factor), settings.max_share)
    for name, factor in factors.items()
  }


def spread(given: Sequence[Any], exits: Sequence[str], field: str) -> dict[str, Any]:
  """Returns one value per exit, by the exit's name, from one for each or one for all.

  Raises:
    UserError: the number of values is neither 1 nor that of the exits.
  """
  if len(given) not in (1, len(exits)):
    raise UserError(f'{field} has {len(given)} values; give 1, or {len(exits)}: {", ".join(exits)}')
  values = tuple(given) * len(exits) if len(given) == 1 else given
  return dict(zip(exits, values, strict=True))


def _parse(text: str) -> tuple[str, dict[str, Any]]:
  """Reads 'root start=0.1 full_after=90%' as ('root', {'start': 0.1, 'full_after': '90%'})."""
  words = text.split()
  name = choose('a pacing of curriculum.exit_pacings', ''.join(words[:1]), PACINGS)
  valid = pacing.arguments(name)
  values: dict[str, Any] = {}
  for word in words[1:]:
    key, _, value = word.partition('=')
    choose(f'an argument of {text!r} in curriculum.exit_pacings', key, valid)
    if key in values:
      raise UserError(f'{key} is given twice in {text!r} of curriculum.exit_pacings')
    values[key] = _read(key, value, f'{key} of {text!r} in curriculum.exit_pacings')
  return name, values


def _read(key: str, value: str, field: str) -> str | int | float:
  """Reads the value of one argument: a duration, or a number."""
  kind = _KINDS[key]
  if isinstance(kind, Duration):
    text = value.replace(';', ',')  # between boundaries, since a comma separates exits
    for part in listed(text) or ('',):
      if not to_steps(part, epoch=10**9, phase=10**9, field=field):
        raise UserError(f'{field} is {part!r}; it must be above 0')
    return text
  try:
    number = int(value) if value.isdecimal() else float(value)
  except ValueError:
    raise UserError(f'{field} is {value!r}; it must be {kind.text}') from None
  kind.check(field, number, {})
  return number


def _in_steps(key: str, value: Any, steps: int, epoch: float) -> Any:
  """Converts durations to numbers of steps, at least one; other values stay."""
  kind = _KINDS[key]
  if not isinstance(kind, Duration):
    return value

  def convert(text: str) -> int:
    return max(1, to_steps(text, epoch=epoch, phase=steps, field=f'curriculum.{key}'))

  return tuple(map(convert, listed(value))) if kind.several else convert(value)
