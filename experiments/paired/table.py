"""The tidy table of a study, one row per run: its columns, reading, checking and writing.

`exits` and `macs` are words joined by spaces, `fields` is a JSON object: `exits_of` and `fields_of`
take them apart. An empty cell is a missing value.
"""

from collections.abc import Iterable, Mapping
import json
import math
import os
from typing import Any

import numpy as np
import pandas as pd

from mecl_jax.errors import UserError
from mecl_jax.files import write_text
from mecl_jax.models import FINAL

Row = dict[str, Any]

RUN, TRIAL = KINDS = ('run', 'trial')  # of the comparison, or of the search before it
DIGITS = {'area': 6, 'seconds': 1}  # decimals; accuracies are exact shares and keep all digits
# Columns before the accuracies and after them, with their dtypes.
FIRST = {
  **dict.fromkeys(('study', 'setting', 'dataset', 'backbone'), 'str'),
  **{'noise': 'float64', 'strategy': 'str', 'arm': 'str', 'kind': 'str', 'trial': 'Int64'},
  **{'budget': 'int64', 'seed': 'int64', 'fields': 'str', 'exits': 'str', 'macs': 'str'},
}
LAST = {
  **{'area': 'float64', 'seconds': 'float64'},
  **dict.fromkeys(('backbone_run', 'fingerprint', 'version', 'device', 'error'), 'str'),
}
MEASURED = ('exits', 'macs', 'area')  # like the accuracies, missing in a run that failed
KEY = ['study', 'setting', 'budget', 'arm', 'kind', 'trial', 'seed']  # identifies a run


def places(early: int) -> tuple[str, ...]:
  """Returns the names of exits by position, equal for networks with differently named stages."""
  return (*(f'exit{number}' for number in range(1, early + 1)), FINAL)


def columns(early: int) -> dict[str, str]:
  """Returns names and dtypes of the columns, in order.

  Args:
    early: number of early exits of the network with most of them.
  """
  accuracies = (f'{split}_{name}' for split in ('validation', 'test') for name in places(early))
  return {**FIRST, **dict.fromkeys(accuracies, 'float64'), **LAST}


def exits_of(row: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the names of a run's exits, earliest first, 'final' last."""
  return tuple(row['exits'].split())


def fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the configuration fields of a run's arm, including those that a search chose."""
  return json.loads(row['fields'])


def records(table: pd.DataFrame) -> list[Row]:
  """Returns the rows as dicts, with None for an empty cell."""
  return table.astype(object).where(table.notna(), None).to_dict('records')


def read_table(path: str | os.PathLike) -> pd.DataFrame:
  """Reads a table that `write_table` wrote.

  Raises:
    UserError: there is no such file, or it is not a table of runs. Row and column are named.
  """
  try:
    table = pd.read_csv(path, dtype='str', keep_default_na=False, na_values=[''])
  except FileNotFoundError:
    raise UserError(
      f'there is no table {path}; python -m experiments.paired writes runs.csv'
    ) from None
  except (UnicodeDecodeError, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
    raise UserError(f'{path} is not a CSV file in UTF-8: {error}') from None
  return _checked(table, path)


def write_table(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
  """Writes a table atomically, sorted so that equal runs make equal files.

  Args:
    path: of the CSV file.
    rows: runs in any order. Accuracies of exits that a run does not have may be left out, and so
      may all measures of a run that failed. Everything else is required.

  Raises:
    UserError: a cell does not fit its column, or a run occurs twice. Nothing is written then.
  """
  rows = list(rows)
  for number, row in enumerate(rows, start=1):  # pandas would take NaN for an empty cell
    for name, value in row.items():
      if isinstance(value, float) and math.isnan(value):
        raise UserError(f'{path}, row {number}, column {name}: NaN is not a value')
  table = pd.DataFrame(rows, dtype=object)
  early = sum(name.startswith('validation_exit') for name in table.dropna(axis=1, how='all'))
  names = columns(early)
  if unknown := [name for name in table.dropna(axis=1, how='all') if name not in names]:
    raise UserError(f'{path}: unknown column {unknown[0]!r}; valid: {", ".join(names)}')
  required = [name for name in (*FIRST, *LAST) if name not in MEASURED]
  if len(table) and (missing := [name for name in required if name not in table]):
    raise UserError(f'{path}: the rows have no column {missing[0]!r}')
  table = _checked(table.reindex(columns=list(names)).replace('', None), path)
  for name, digits in DIGITS.items():
    table[name] = [round(value, digits) for value in table[name]]  # exact, unlike Series.round
  write_text(path, csv_text(table.sort_values(KEY, na_position='first')))


def csv_text(table: pd.DataFrame) -> str:
  """Returns a table as CSV; floats have as many digits as it takes to read them back exactly."""
  return table.to_csv(index=False, lineterminator='\n')


def _checked(table: pd.DataFrame, path: str | os.PathLike) -> pd.DataFrame:
  """Returns the table with the dtypes of its columns; raises UserError where a cell is wrong."""
  early = sum(name.startswith('test_exit') for name in table)
  names = columns(early)
  if missing := [name for name in names if name not in table]:
    raise UserError(f'{path} is not a table of runs: it has no column {missing[0]!r}')
  if list(table) != list(names):
    raise UserError(f'{path}: its columns are {", ".join(table)}; expected {", ".join(names)}')

  def refuse(name: str, wrong: pd.Series, problem: str) -> None:
    if wrong.any():
      row = int(np.argmax(wrong))
      cell = '' if table[name].isna().iloc[row] else f'{str(table[name].iloc[row])!r} '
      raise UserError(f'{path}, row {row + 1}, column {name}: {cell}{problem}')

  ended, trial = table['error'].isna(), table['kind'] == TRIAL
  needed = {name: True for name in FIRST if name not in ('trial', *MEASURED)} | {'trial': trial}
  for name, when in (needed | {'exits': ended, 'macs': ended}).items():
    refuse(name, table[name].isna() & when, 'must not be empty')
  for name, dtype in names.items():
    if dtype == 'str':
      text = table[name].map(lambda cell: isinstance(cell, str)).astype(bool) | table[name].isna()
      refuse(name, ~text, 'is not text')
    try:
      table[name] = table[name].astype(object).astype(dtype)
    except (TypeError, ValueError) as error:
      raise UserError(f'{path}, column {name}: not of type {dtype} ({error})') from None
  exits, macs = (table[name].fillna('').str.split() for name in ('exits', 'macs'))
  for number, place in enumerate(places(early), start=1):
    has = ended & ((place == FINAL) | (exits.str.len() > number))
    refuse(f'validation_{place}', table[f'validation_{place}'].isna() & has, 'must not be empty')
    refuse(f'test_{place}', table[f'test_{place}'].isna() & has & ~trial, 'must not be empty')
  for name in [n for n in names if n.startswith(('noise', 'validation_', 'test_', 'area'))]:
    refuse(name, (table[name] < 0) | (table[name] > 1), 'is not a share from 0 to 1')
  refuse('seconds', (table['seconds'] < 0) | np.isinf(table['seconds']), 'is not a duration')
  refuse('budget', table['budget'] < 1, 'is not a positive number of steps')
  refuse('kind', ~table['kind'].isin(KINDS), f'is none of: {", ".join(KINDS)}')
  refuse('fields', ~table['fields'].map(_is_object).astype(bool), 'is not a JSON object')
  refuse(
    'macs',
    ~macs.map(lambda words: all(map(str.isdecimal, words))).astype(bool),
    'must be whole numbers',
  )
  refuse('macs', macs.str.len() != exits.str.len(), 'does not have one number for each exit')
  refuse('seed', table.duplicated(KEY), f'occurs twice for one run, by {", ".join(KEY)}')
  return table


def _is_object(text: str) -> bool:
  try:
    return isinstance(json.loads(text), dict)
  except ValueError:
    return False
