"""The table of a simulated store of energy."""

import io

from rich.console import Console

from mecl_jax.report.tables.energy import energy_table
from tests.report import run_rows

TABLES = run_rows.of_energy()


def printed(width):
  console = Console(width=width, file=io.StringIO())
  console.print(energy_table(TABLES['energy'], TABLES['energy_settings']))
  return console.file.getvalue()


def test_table_has_the_policies_with_intervals():
  text = printed(200)
  assert 'simulated' in text.splitlines()[0]
  (greedy,) = (line for line in text.splitlines() if 'greedy' in line)
  for cell in (
    '60.00 [58.00 to 62.00]',
    '90.00 [88.00 to 92.00]',
    '30.00 [28.00 to 32.00]',
    '1.50',
  ):
    assert cell in greedy
  (reserve,) = (line for line in text.splitlines() if 'reserve ' in line and '70.00' in line)
  assert ' 30.00 ' in reserve and ' 1.5 ' in reserve
  assert 'figures: simulated on a computer; no energy was measured' in text


def test_narrow_terminal_leaves_columns_out():
  text = printed(100)
  (line,) = (line for line in text.splitlines() if line.startswith('a wider terminal also shows'))
  assert 'lost per image (mJ)' in line and 'missed' not in line
  assert '60.00' in text and 'greedy' in text
