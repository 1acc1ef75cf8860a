"""How numbers are written on the pages of results, and tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.paired import analysis

SIGNIFICANT = 0.05  # differences with a corrected p-value below it are set in bold


def points(row: Mapping[str, Any]) -> str:
  """Returns a difference with its interval, as '+1.31 [0.90, 1.72]', or why it has no interval."""
  number, unit = row['seeds'], row.get('unit', 'seed')
  reason = f' (one {unit})' if number == 1 else f' (the same in all {number} {unit}s)'
  return f'{_rounded(row["difference"]):+.2f}' + (_interval(row) or reason)


def strong(row: Mapping[str, Any]) -> str:
  """Returns a difference with its interval, in bold where its corrected p-value is small."""
  return f'**{points(row)}**' if row['p_holm'] < SIGNIFICANT else points(row)


def level(row: Mapping[str, Any]) -> str:
  """Returns an accuracy with its interval, as '58.70 [58.12, 59.28] %'."""
  return f'{_rounded(row["difference"]):.2f}{_interval(row)} %'


def multiple(row: Mapping[str, Any]) -> str:
  """Returns a ratio of `steps_to_reach`, as '0.64 [0.57, 0.72]', or '≤ 0.43' for a bound."""
  if pd.isna(row['ratio']):
    return row['bound']
  sign = {analysis.AT_MOST: '≤ ', analysis.AT_LEAST: '≥ '}.get(row['bound'], '')
  censored = f' ({row["censored"]:.0%} censored)' if 0 < row['censored'] < 1 else ''
  return f'{sign}{row["ratio"]:.2f}{_interval(row)}{censored}'


def percent(shares: Any) -> str:
  """Returns the mean of shares in percent, as '58.70 %'.

  Rounded twice, so that the last bit of another machine cannot change the second rounding.
  """
  return f'{round(100 * float(np.mean(shares)), 6):.2f} %'


def above(intervals: pd.DataFrame) -> str:
  """Returns how many intervals are above zero, as '11 of 12'."""
  return f'{(intervals["low"] > 0).sum()} of {len(intervals)}'


def below(intervals: pd.DataFrame) -> str:
  """Returns how many intervals are below zero, as '0 of 12'."""
  return f'{(intervals["high"] < 0).sum()} of {len(intervals)}'


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns rows as a table in Markdown with a column for every key; '' for no rows."""
  names = list(dict.fromkeys(name for row in rows for name in row))
  if not rows:
    return ''
  lines = [names, ['---'] * len(names), *([_cell(row.get(n, '')) for n in names] for row in rows)]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _cell(value: object) -> str:
  """Returns a value in one line, with no character that would end the cell."""
  return ' '.join(str('' if value is None else value).split()).replace('|', r'\|')


def _interval(row: Mapping[str, Any]) -> str:
  if pd.isna(row['low']):
    return ''
  return f' [{_rounded(row["low"]):.2f}, {_rounded(row["high"]):.2f}]'


def _rounded(value: float) -> float:
  # Sums in another order differ in the last digits; + 0.0 makes -0.0 positive.
  return round(round(value, 9), 2) + 0.0
