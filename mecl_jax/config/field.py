"""A field of the configuration, and a group of fields."""

import dataclasses
from typing import Any

from mecl_jax.config.valid import Valid


@dataclasses.dataclass(frozen=True)
class Field:
  """A field.

  Attributes:
    default: its value unless a configuration changes it.
    valid: the values that it may hold.
    meaning: what it does, with the unit; Markdown in one line.
    any_type: whether a value may have another type than the default, as 'auto' beside 0.1.
  """

  default: Any
  valid: Valid
  meaning: str
  any_type: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
  """A group of fields.

  Attributes:
    meaning: what they are about.
    fields: by name, or further groups.
  """

  meaning: str
  fields: 'dict[str, Field | Group]'
