"""The configuration: every field once, and functions of whole configurations."""

from mecl_jax.config.configuration import (
  all_fields,
  check_fields,
  check_structure,
  check_variant,
  default,
  differences,
  digest,
  flatten,
  make_recommended,
  make_short,
  make_small,
  parse_items,
  read,
  unknown_field,
  with_mutable_fields,
)
from mecl_jax.config.fields import MUTABLE_FIELDS
from mecl_jax.config.named import find as find_config
from mecl_jax.config.named import load as load_config
from mecl_jax.config.named import names as config_names

__all__ = [
  'MUTABLE_FIELDS',
  'all_fields',
  'check_fields',
  'check_structure',
  'check_variant',
  'config_names',
  'default',
  'differences',
  'digest',
  'find_config',
  'flatten',
  'load_config',
  'make_recommended',
  'make_short',
  'make_small',
  'parse_items',
  'read',
  'unknown_field',
  'with_mutable_fields',
]
