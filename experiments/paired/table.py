"""The tidy table of a study, a row per run: its columns, and how it is read and written.

A cell is a str, an int or a float, and None where it is empty. `exits` and `macs` are words joined
by spaces, `fields` is a JSON object: `exits_of` and `fields_of` take them apart.
"""

from collections.abc import Callable, Iterable, Mapping
import csv
import io
import json
import math
import os
import pathlib
from typing import Any

from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from mecl_jax.models import FINAL

Row = dict[str, Any]
Rows = list[Row]

RUN, TRIAL = KINDS = ('run', 'trial')  # of the comparison, or of the search before it
DIGITS = {'area': 6, 'seconds': 1}  # decimals of what is not an exact share


def _share(text: str) -> float:
  if not 0 <= (value := float(text)) <= 1:
    raise ValueError('is no share from 0 to 1')
  return value


def _seconds(text: str) -> float:
  if not 0 <= (value := float(text)) < math.inf:
    raise ValueError('is no duration')
  return value


def _steps(text: str) -> int:
  if (value := int(text)) < 1:
    raise ValueError('is no number of steps')
  return value


def _macs(text: str) -> str:
  for word in text.split():
    int(word)
  return text


def _fields(text: str) -> str:
  if not isinstance(json.loads(text), dict):
    raise ValueError('is no JSON object')
  return text


def _kind(text: str) -> str:
  if text not in KINDS:
    raise ValueError(f'is none of: {", ".join(KINDS)}')
  return text


# Columns before the accuracies, and after them; each with what reads a cell that is not empty.
_FIRST: dict[str, Callable[[str], Any]] = {
  'study': str,
  'setting': str,
  'dataset': str,
  'backbone': str,
  'noise': _share,
  'strategy': str,
  'arm': str,
  'kind': _kind,
  'trial': int,
  'budget': _steps,
  'seed': int,
  'fields': _fields,
  'exits': str,
  'macs': _macs,
}
_LAST: dict[str, Callable[[str], Any]] = {
  'area': _share,
  'seconds': _seconds,
  'backbone_run': str,
  'fingerprint': str,
  'version': str,
  'device': str,
  'error': str,
}
_MEASURED = ('exits', 'macs', 'area')  # like the accuracies: not of a run that failed
_NEEDED = tuple(name for name in _FIRST if name not in ('trial', *_MEASURED))


def places(early: int) -> tuple[str, ...]:
  """Exits by their places, so that networks with other stages have the same columns."""
  return (*(f'exit{number}' for number in range(1, early + 1)), FINAL)


def columns(early: int) -> tuple[str, ...]:
  """The columns of a table whose longest network has so many early exits, in their order."""
  accuracies = (f'{s}_{name}' for s in ('validation', 'test') for name in places(early))
  return (*_FIRST, *accuracies, *_LAST)


def exits_of(row: Mapping[str, Any]) -> tuple[str, ...]:
  """Names of a run's exits, earliest first, 'final' last; none if it failed before it had any."""
  return tuple((row.get('exits') or '').split())


def fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
  """The configuration fields of a run's arm, those that a search found included."""
  return json.loads(row['fields'])


def accuracy_columns(row: Mapping[str, Any], split: str) -> tuple[str, ...]:
  """The columns that hold the accuracies of a run's exits, earliest first.

  Args:
    row: of a table.
    split: 'validation' or 'test'.
  """
  return tuple(f'{split}_{name}' for name in places(len(exits_of(row)) - 1))


def read_table(path: str | os.PathLike) -> Rows:
  """Reads what `write_table` wrote, in its order.

  Returns:
    rows with all columns of the file; an empty cell is None.

  Raises:
    UserError: there is no such file, or it is no table of runs: column and line are named.
  """
  try:
    text = pathlib.Path(path).read_bytes().decode()
  except FileNotFoundError:
    raise UserError(
      f'there is no table {path}; python -m experiments.paired writes runs.csv'
    ) from None
  except UnicodeDecodeError:
    raise UserError(f'{path} is not UTF-8; write the table anew') from None
  return _parse(text, path)


def write_table(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
  """Writes a table, sorted so that equal runs make equal files, under a temporary name first.

  Args:
    path: of the CSV file.
    rows: in any order. Accuracies of exits that a run has not may be left out, and of a run that
      failed all that would have been measured; everything else has to be there.

  Raises:
    UserError: a cell is not of its column's kind, or a run is there twice; nothing is written then.
  """
  rows = list(rows)
  early = [
    [n for n in row if n.startswith('validation_exit') and row[n] is not None] for row in rows
  ]
  names = columns(max(map(len, early), default=0))
  for row in rows:
    if unknown := [name for name in row if name not in names and row[name] is not None]:
      raise UserError(f'{path}: a run has a column {unknown[0]!r} that no table has')
    if lacking := [n for n in (*_FIRST, *_LAST) if n not in row and n not in _MEASURED]:
      raise UserError(f'{path}: a run lacks the column {lacking[0]!r}')
  text = csv_text(sorted(({n: _rounded(r, n) for n in names} for r in rows), key=_key), names)
  _parse(text, path)
  write_text(path, text)


def csv_text(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str:
  """A table as CSV: a line of names first; floats read back as exactly what they were."""
  text, names = io.StringIO(), list(names)
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(names)
  writer.writerows([_cell(name, row[name]) for name in names] for row in rows)
  return text.getvalue()


def _rounded(row: Mapping[str, Any], name: str) -> Any:
  value = row.get(name)
  return round(value, DIGITS[name]) if name in DIGITS and value is not None else value


def _cell(name: str, value: object) -> str:
  if value is None:
    return ''
  if isinstance(value, bool) or not isinstance(value, str | int | float):
    raise UserError(f'column {name} cannot hold a {type(value).__name__}: {value!r}')
  return repr(float(value)) if isinstance(value, float) else str(value)


def _key(row: Mapping[str, Any]) -> tuple:
  """What tells runs apart, and their order: no two runs of a table share it."""
  trial = -1 if row['trial'] is None else row['trial']
  # What is empty by mistake is told later, by column and line.
  place = row['study'] or '', row['setting'] or '', row['budget'] or 0
  return *place, row['arm'] or '', row['kind'] or '', trial, row['seed'] or 0


def _parse(text: str, path: str | os.PathLike) -> Rows:
  reader = csv.reader(io.StringIO(text, newline=''), strict=True)
  rows, lines = Rows(), dict[tuple, int]()
  try:
    names = _checked_names(next(reader, []), path)
    for cells in reader:
      row = _parse_row(cells, names, f'{path}, line {reader.line_num}')
      first = lines.setdefault(_key(row), reader.line_num)
      if first != reader.line_num:
        raise UserError(f'{path}, line {reader.line_num} is the run of line {first} again')
      rows.append(row)
  except csv.Error as error:
    raise UserError(f'{path}, line {reader.line_num} is no CSV: {error}') from None
  return rows


def _checked_names(names: list[str], path: str | os.PathLike) -> tuple[str, ...]:
  early = sum(name.startswith('test_exit') for name in names)
  expected = columns(early)
  if missing := [name for name in expected if name not in names]:
    raise UserError(f'{path} is no table of runs: it has no column {missing[0]!r}')
  for name, right in zip(names, (*expected, ''), strict=False):
    if name != right:
      raise UserError(f'{path} has a column {name!r} where {right or "no other"!r} belongs')
  return expected


def _parse_row(cells: list[str], names: tuple[str, ...], where: str) -> Row:
  if len(cells) != len(names):
    raise UserError(f'{where} has {len(cells)} cells for {len(names)} columns')
  row = {}
  for name, cell in zip(names, cells, strict=True):
    read = _FIRST.get(name) or _LAST.get(name) or _share
    try:
      row[name] = read(cell) if cell else None
    except ValueError as error:
      raise UserError(f'{where}, column {name}: {cell!r} does not fit ({error})') from None
  _check_row(row, where)
  return row


def _check_row(row: Row, where: str) -> None:
  """Raises UserError for an empty cell that a run of this kind must have."""
  needed = list(_NEEDED)
  if row['kind'] == TRIAL:
    needed.append('trial')
  if row['error'] is None:
    needed += ['exits', 'macs', *accuracy_columns(row, 'validation')]
    if row['kind'] == RUN:
      needed += accuracy_columns(row, 'test')
  for name in needed:
    if row.get(name) is None:
      raise UserError(f'{where}, column {name} is empty')
  if row['macs'] and len(row['macs'].split()) != len(exits_of(row)):
    raise UserError(f'{where}, column macs has not one number for each of: {row["exits"]}')
