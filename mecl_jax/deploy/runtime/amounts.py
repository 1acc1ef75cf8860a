"""CSV files of amounts: the cost of every segment, and a budget or an income for each image."""

from __future__ import annotations

from collections.abc import Sequence
import csv
import math
import re
from typing import Any, NamedTuple

from mecl_jax.deploy.runtime.errors import BundleError, first_line, need

MOST = 1e15  # the largest amount


class Amounts(NamedTuple):
  """Amounts, and their unit as the file names it; '' if it names none."""

  values: list[float]
  unit: str


def read_costs(path: Any, exits: Sequence[str]) -> Amounts:
  """Reads what the segment before each exit costs an image, not summed over the segments.

  Args:
    path: CSV file with the heading `exit,cost_UNIT`, as `exit,cost_mJ`, and a line for each exit.
    exits: names of the exits, earliest first.

  Returns:
    the costs, in the order of the exits.

  Raises:
    BundleError: the file cannot be read, an exit is missing, unknown or there twice, a cost is not
      a number of 0 or more, or all are 0.
  """
  (_, heading), *lines = _lines(path, 'costs') or [(0, [])]
  names = [cell.strip() for cell in heading]
  unit = _unit('cost', names[1]) if len(names) == 2 and names[0] == 'exit' else None
  if unit is None:
    found = ','.join(heading)[:40]
    raise BundleError(f'{path} begins with {found!r}; the heading must be exit,cost_mJ or the like')
  costs: dict[str, float] = {}
  for number, row in lines:
    name = row[0].strip()
    known = f'line {number} of {path} has exit {name!r:.80}; the exits are {", ".join(exits)}'
    need(name in exits, known)
    need(name not in costs, f'line {number} of {path} has exit {name} for the second time')
    costs[name] = _amount(path, number, row[1:], 'cost')
  missing = [name for name in exits if name not in costs]
  need(not missing, f'{path} lacks the cost of {", ".join(missing)}')
  need(sum(costs.values()) > 0, f'{path} has costs of 0 only; one must be above 0')
  return Amounts([costs[name] for name in exits], unit)


def read_amounts(path: Any, name: str) -> Amounts:
  """Reads a trace of amounts, one for each image.

  Args:
    path: CSV file with one number per line; the first line may be the heading `NAME_UNIT`, as
      `income_mJ`.
    name: what the amounts are: 'income' or 'budget'.

  Returns:
    the amounts, in the order of the lines.

  Raises:
    BundleError: the file cannot be read, has no amount, or one is not a number of 0 or more.
  """
  lines, unit = _lines(path, f'amounts of {name}'), None
  if lines and len(lines[0][1]) == 1:
    unit = _unit(name, lines[0][1][0].strip())
  values = [_amount(path, *line, name) for line in (lines if unit is None else lines[1:])]
  need(values, f'{path} has no {name}; write one number per line')
  return Amounts(values, unit or '')


def check_unit(path: Any, unit: str, expected: str) -> None:
  """Raises BundleError if a file names another unit than that of the costs."""
  same = unit in ('', expected)
  need(same, f'{path} is in {unit}, but the costs are in {expected or "no unit"}; use one unit')


def _lines(path: Any, what: str) -> list[tuple[int, list[str]]]:
  """Returns the lines of a CSV file that are not empty, with their numbers."""
  try:
    with open(path, encoding='utf-8-sig', newline='') as file:
      reader = csv.reader(file)
      return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise BundleError(
      f'{path} cannot be read as a CSV file of {what}: {first_line(error)}'
    ) from None


def _unit(name: str, heading: str) -> str | None:
  """Returns the unit in a heading as cost_mJ, '' without one; None if it is no such heading."""
  found = re.fullmatch(rf'{name}(?:_(\w{{1,12}}))?', heading)
  return (found.group(1) or '') if found else None


def _amount(path: Any, line: int, row: list[str], name: str) -> float:
  try:
    (cell,) = row
    value = float(cell)
  except ValueError:
    value = math.nan
  found = f'line {line} of {path} has the {name} {",".join(row)[:40]!r}'
  need(0 <= value < MOST, f'{found}; it must be one number, 0 or above')
  return value
