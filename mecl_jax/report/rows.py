"""Tables as lists of rows: their types, how rows are made, and how figures read columns."""

from collections.abc import Mapping
import math

import numpy as np

from mecl_jax.evaluation.intervals import Interval

Cell = str | int | float | bool | None
Row = dict[str, Cell]
Rows = list[Row]


def row(values: Mapping[str, object]) -> Row:
  """Returns a row of plain Python values; NumPy scalars are converted, NaN becomes None.

  Args:
    values: column name to value.

  Raises:
    TypeError: a value is not a string, a number, a truth value or None.
  """
  return {name: _plain(name, value) for name, value in values.items()}


def with_ends(name: str, interval: Interval, index: int) -> dict[str, object]:
  """Returns the columns `name`, `name_low` and `name_high` of one entry of an interval."""
  ends = zip((name, f'{name}_low', f'{name}_high'), interval, strict=True)
  return {column: values[index] for column, values in ends}


def values(rows: Rows, column: str) -> np.ndarray:
  """Returns a column of numbers, float64 [rows], with NaN for None."""
  return np.array([row[column] for row in rows], np.float64)


def texts(rows: Rows, column: str) -> list[str]:
  """Returns a column as strings."""
  return [str(row[column]) for row in rows]


def groups(rows: Rows, *columns: str) -> dict[tuple[str, ...], Rows]:
  """Groups the rows that are equal in these columns.

  Returns:
    the columns' values, as strings, to the rows; both in the order of first occurrence.
  """
  found: dict[tuple[str, ...], Rows] = {}
  for row in rows:
    found.setdefault(tuple(str(row[column]) for column in columns), []).append(row)
  return found


def columns_of(rows: Rows, prefix: str) -> dict[str, str]:
  """Returns exit name to column name, of the columns that are called `prefix` plus an exit."""
  return {name.removeprefix(prefix): name for name in rows[0] if name.startswith(prefix)}


def _plain(name: str, value: object) -> Cell:
  plain = value.item() if isinstance(value, np.generic) else value
  if not isinstance(plain, str | int | float | None):
    raise TypeError(
      f'column {name} holds a {type(plain).__name__}; a cell is a string, a number, a truth value'
      ' or None'
    )
  return None if isinstance(plain, float) and math.isnan(plain) else plain
