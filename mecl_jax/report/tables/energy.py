"""The table of a simulated store of energy, for a terminal."""

from mecl_jax.report.cells import MISSING, estimates, heading, show
from mecl_jax.report.rows import Row, Rows
from mecl_jax.terminal import FittedTable

WITH_INTERVAL = ('right_share', 'answered_accuracy', 'missed_share')


def energy_table(rows: Rows, settings: Rows) -> FittedTable:
  """Returns a table with a row per policy, and the settings of the simulation below it.

  Args:
    rows: the table `energy`.
    settings: the table `energy_settings`.
  """
  hidden = ['by_rule', 'right_drop']
  if all(row['supply'] == rows[0]['supply'] for row in rows):
    hidden.append('supply')
  columns = [c for c in estimates(list(rows[0])) if c not in hidden]
  headings = [heading(column) for column in columns]
  cells = [[_cell(row, column) for column in columns] for row in rows]
  caption = '\n'.join(f'{row["setting"]}: {row["value"]}' for row in settings)
  optional = [heading(c) for c in columns if c.startswith(('lost:', 'reserve', 'mean_exit'))]
  return FittedTable(
    'simulated store of energy',
    headings,
    cells,
    headings[columns.index('policy') + 1 :],
    optional,
    caption=caption,
  )


def _cell(row: Row, column: str) -> str:
  text, interval = show(row, column)
  if column in WITH_INTERVAL and text != MISSING:
    return f'{text} [{interval}]'
  return text
