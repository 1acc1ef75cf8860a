"""Configurations: made from the fields, read, compared and checked field by field."""

from collections.abc import Iterator, Mapping, Sequence
import hashlib
import os
from typing import Any

from ml_collections import ConfigDict, FieldReference
import numpy as np

from mecl_jax.config.field import Field, Group
from mecl_jax.config.fields import FIELDS, MUTABLE_FIELDS
from mecl_jax.config.valid import Names
from mecl_jax.errors import DamagedFile, UserError, choose, first_line
from mecl_jax.files import read_json


class _Config(ConfigDict):
  """A configuration that takes numbers of NumPy as those of Python."""

  def __setitem__(self, key: str, value: Any) -> None:
    super().__setitem__(key, _of_python(value))


def _of_python(value: Any) -> Any:
  """Returns numbers and text of NumPy, also in a list or tuple, as those of Python."""
  if isinstance(value, np.generic):
    return value.item()
  return type(value)(map(_of_python, value)) if type(value) in (list, tuple) else value


def default() -> ConfigDict:
  """Returns a locked configuration with the default of every field.

  Examples:
    >>> default().phases.heads.optimizer
    'adam'
  """
  return _defaults(FIELDS).lock()


def _defaults(group: Group) -> ConfigDict:
  return _Config(
    {
      name: _defaults(entry) if isinstance(entry, Group) else _default(entry)
      for name, entry in group.fields.items()
    }
  )


def _default(field: Field) -> Any:
  return FieldReference(field.default, field_type=object) if field.any_type else field.default


def all_fields(group: Group = FIELDS, prefix: str = '') -> Iterator[tuple[str, Field]]:
  """Yields ('model.exits', field) for every field, in the order of `fields.py`."""
  for name, entry in group.fields.items():
    if isinstance(entry, Group):
      yield from all_fields(entry, f'{prefix}{name}.')
    else:
      yield prefix + name, entry


def flatten(config: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """Yields ('model.exits', value) for every field, lists as tuples (JSON has no tuples)."""
  for key, value in config.items():
    if isinstance(value, Mapping | ConfigDict):
      yield from flatten(value, f'{prefix}{key}.')
    else:
      yield prefix + key, tuple(value) if isinstance(value, list) else value


def check_structure(config: Any) -> None:
  """Checks that a configuration has every field, and no other.

  Raises:
    UserError: it has not, or is none.
  """
  remedy = 'start from mecl_jax.default_config(), and change its fields'
  if not isinstance(config, ConfigDict):
    raise UserError(f'the configuration is {type(config).__name__}; {remedy}')
  given, fields = {name for name, _ in flatten(config)}, {name for name, _ in all_fields()}
  for names, problem in (
    (fields - given, 'lacks the field'),
    (given - fields, 'cannot have the field'),
  ):
    if names:
      raise UserError(f'the configuration {problem} {min(names)}; {remedy}')


def check_fields(config: ConfigDict, names: Names) -> None:
  """Checks every field by itself.

  Args:
    config: to check.
    names: that the registries of other rooms hold, by the name of the registry.

  Raises:
    UserError: a value that is not valid; the message names the field and what is valid.
  """
  values = dict(flatten(config))
  for name, field in all_fields():
    field.valid.check(name, values[name], names)


def read(path: str | os.PathLike) -> ConfigDict:
  """Reads the config.json of a run; a field that it lacks gets its default.

  Raises:
    MissingFile: there is no such file.
    DamagedFile: it is not a valid configuration.
    UserError: it cannot be read now.
  """
  config, known = default(), dict(all_fields())
  fields = read_json(path)
  try:
    for field, value in flatten(fields):
      if field not in known:
        raise ValueError(f'there is no field {field}')
      config.update_from_flattened_dict({field: value})
  except (AttributeError, KeyError, OverflowError, TypeError, ValueError, RecursionError) as error:
    raise DamagedFile(
      f'{path} is not a valid mecl_jax configuration: {first_line(error)}'
    ) from None
  return config


def differences(config: ConfigDict, other: ConfigDict) -> list[str]:
  """Returns the fields that change a run's result and differ, with both values."""
  ours, theirs = dict(flatten(config)), dict(flatten(other))
  return [
    f'{field} is {ours[field]!r}, was {theirs[field]!r}'
    for field in ours
    if ours[field] != theirs[field] and not field.startswith(MUTABLE_FIELDS)
  ]


def digest(config: ConfigDict, *more: str) -> str:
  """Returns 16 hex digits of all fields that change a run's result, and of `more`."""
  fields = [item for item in sorted(flatten(config)) if not item[0].startswith(MUTABLE_FIELDS)]
  return hashlib.sha256(repr((fields, more)).encode()).hexdigest()[:16]


def with_mutable_fields(config: ConfigDict, other: ConfigDict) -> ConfigDict:
  """Returns `config` with the fields that may change between two starts taken from `other`."""
  result = config.copy_and_resolve_references()
  changed = {name: v for name, v in flatten(other) if name.startswith(MUTABLE_FIELDS)}
  result.update_from_flattened_dict(changed)
  return result


def unknown_field(argv: Sequence[str]) -> str | None:
  """Returns an error message for the first --config.FIELD that does not exist; None without one.

  Args:
    argv: the command line.
  """
  for argument in argv:
    path, _, _ = argument.lstrip('-').partition('=')
    if not path.startswith('config.'):
      continue
    node, names = default(), path.split('.')[1:]
    for depth, name in enumerate(names):
      if not isinstance(node, ConfigDict) or name not in node:
        place = '.'.join(['config', *names[:depth]])
        valid = ', '.join(node) if isinstance(node, ConfigDict) else 'no fields'
        return f'there is no field {path}; {place} has: {valid}'
      node = node[name]
  return None


def parse_items(values: Any) -> tuple[str | float, ...]:
  """Returns a list of names and numbers, however it was written on the command line.

  Examples:
    >>> parse_items(('stage1,0.5',))
    ('stage1', 0.5)
  """
  values = tuple(values) if isinstance(values, list | tuple) else (values,)
  if not all(isinstance(value, str | int | float) for value in values):
    return values  # `check_fields` rejects them
  parts = [part.strip() for value in values for part in str(value).strip('()[] ').split(',')]
  return tuple(_number(part.strip('\'" ')) for part in parts if part)


def _number(text: str) -> str | float:
  try:
    return float(text)
  except ValueError:
    return text


def check_variant(variant: str, variants: Sequence[str]) -> None:
  """Checks what follows the colon in --config=FILE:VARIANT; '' is the plain configuration.

  Raises:
    UserError: the variant is not one of `variants`.
  """
  if variant:
    choose('the variant after the colon of --config', variant, variants or ('none',))


def make_recommended(config: ConfigDict) -> None:
  """Replaces the paper's curriculum by the one that docs/results.md found best, in place.

  All images are visible from the start. Easy images have larger weights in the loss, most of all
  at the first exit. (The defaults stay those of the paper.)
  """
  config.curriculum.order = 'none'
  config.curriculum.sample_weights = 'easy_weighted'
  config.curriculum.easy_strength = 0.4


def make_small(config: ConfigDict) -> None:
  """Shortens a recipe for an accelerator, in place, so that a laptop runs it within minutes."""
  config.model.backbone = 'resnet8'
  config.phases.backbone.duration = config.phases.joint.duration = '2 epochs'
  config.phases.heads.duration = '2 epochs'
  config.logging.validate_every = '25%'
  for phase in config.phases.values():
    phase.warmup = '10%'


def make_short(config: ConfigDict) -> None:
  """Shortens the phases of a recipe to a tenth, in place: a first look on an accelerator."""
  for phase in config.phases.values():
    count, unit = phase.duration.split()
    phase.duration = f'{float(count) / 10:g} {unit}'
