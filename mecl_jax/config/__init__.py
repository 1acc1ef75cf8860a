"""The configuration: every field once, and functions of whole configurations."""

from mecl_jax.config.configuration import (
  all_fields,
  check_fields,
  check_variant,
  default,
  differences,
  digest,
  flatten,
  make_recommended,
  make_small,
  parse_items,
  read,
  unknown_field,
  with_mutable_fields,
)
from mecl_jax.config.fields import MUTABLE_FIELDS

__all__ = [
  'MUTABLE_FIELDS',
  'all_fields',
  'check_fields',
  'check_variant',
  'default',
  'differences',
  'digest',
  'flatten',
  'make_recommended',
  'make_small',
  'parse_items',
  'read',
  'unknown_field',
  'with_mutable_fields',
]
