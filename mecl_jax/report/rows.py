"""Rows of tables from NumPy's values."""

from collections.abc import Mapping
import math

import numpy as np

from mecl_jax.evaluation.intervals import Interval
from mecl_jax.report.cells import Cell


def row(values: Mapping[str, object]) -> dict[str, Cell]:
  """A row of plain values: NumPy's scalars as Python's, and nan as None."""
  return {name: _plain(value) for name, value in values.items()}


def with_ends(name: str, interval: Interval, index: int) -> dict[str, object]:
  """Columns `name`, `name_low` and `name_high` of one value of an interval."""
  ends = zip((name, f'{name}_low', f'{name}_high'), interval, strict=True)
  return {column: values[index] for column, values in ends}


def _plain(value: object) -> Cell:
  plain = value.item() if isinstance(value, np.generic) else value
  if not isinstance(plain, str | int | float | None):
    raise TypeError(f'{type(plain).__name__} is no value of a table')
  return None if isinstance(plain, float) and math.isnan(plain) else plain
