"""How numbers are written on the page of results: in prose, and in tables of Markdown."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.paired import analysis
from experiments.paired.table import Row, Rows
from mecl_jax.errors import UserError

SURE = 0.05  # p-values after Holm's correction below it are set in bold


class Quoted(str):
  """A difference in points as prose has it, '+1.31 [0.90, 1.72]'; `row` is what it was made of."""

  row: Row


def quoted(row: Row) -> Quoted:
  """A difference; where it has no interval, why."""
  told = 'one seed' if row['seeds'] == 1 else f'the same in all {row["seeds"]} seeds'
  text = Quoted(signed(row['difference']) + (_interval(row) or f' ({told})'))
  text.row = row
  return text


def level(row: Row) -> str:
  """An accuracy, as '58.70 [58.12, 59.28] %'."""
  return f'{round(row["difference"], 2):.2f}{_interval(row)} %'


def strong(row: Row) -> str:
  """A difference, in bold where its corrected test is sure of it."""
  sure = row['p_holm'] is not None and row['p_holm'] < SURE
  return f'**{quoted(row)}**' if sure else quoted(row)


def multiple(row: Row) -> str:
  """A number of `steps_to_reach`, as '0.64 [0.57, 0.72]', or '≤ 0.43' where it is a bound."""
  if row['ratio'] is None:
    return row['bound']
  sign = {analysis.AT_MOST: '≤ ', analysis.AT_LEAST: '≥ '}.get(row['bound'], '')
  censored = f' ({row["censored"]:.0%} censored)' if 0 < row['censored'] < 1 else ''
  return f'{sign}{row["ratio"]:.2f}{_interval(row)}{censored}'


def lines_of(rows: Rows, measures: list[str], show: Callable[[Row], str]) -> list[list[str]]:
  """Lines of a table, one per budget and arm: these, the seeds, and a cell for every measure."""
  found: dict[tuple[int, str], dict[str, Row]] = {}
  for row in rows:
    found.setdefault((row['budget'], row['arm']), {})[row['measure']] = row
  lines = []
  for (budget, arm), cells in sorted(found.items(), key=lambda item: item[0][0]):
    seeds = sorted({row['seeds'] for row in cells.values()})
    shown = [show(cells[measure]) if measure in cells else '' for measure in measures]
    lines.append([f'{budget:,}', f'`{arm}`', ' to '.join(map(str, seeds)), *shown])
  return lines


def markdown(headings: list[str], lines: list[list[str]]) -> str:
  """A table."""
  rows = [headings, ['---'] * len(headings), *lines]
  return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def cell(value: object) -> str:
  """A cell in one line, in which nothing ends it."""
  return '' if value is None else ' '.join(str(value).split()).replace('|', r'\|')


def signed(points: float) -> str:
  """As '+1.31'."""
  return f'{round(points, 2) + 0.0:+.2f}'


def percent(shares: list[Any]) -> str:
  """Their mean; rounded first, so that another machine's last bit turns no half the other way."""
  if None in shares:
    raise UserError('a run has no such exit; ask for a measure that all of them have')
  return f'{round(100 * float(np.mean(shares)), 6):.2f}'


def counted(rows: Rows, true: Callable[[Row], bool]) -> str:
  """Of how many rows it is true, as '11 of 12'; never of one without an interval."""
  return f'{sum(row["low"] is not None and true(row) for row in rows)} of {len(rows)}'


def _interval(row: Row) -> str:
  """As ' [0.90, 1.72]', '' if there is none."""
  if row['low'] is None:
    return ''
  low, high = (round(row[end], 2) + 0.0 for end in ('low', 'high'))  # + 0.0: -0.0 is positive
  return f' [{low:.2f}, {high:.2f}]'
