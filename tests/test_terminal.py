import io

import pytest
from rich.console import Console

from mecl_jax.terminal import FittedTable

COLUMNS = ('exit', 'accuracy', 'multiply-accumulates', 'stages up to it')
ROWS = [
  ('stage1', '55.18% ±0.99', '7.52 M', 'stem .. stage1_block1'),
  (),
  ('[/red]', '63.79% ±0.93', '12.2 M', 'stage2_block1 .. stage3_block1'),
]
TABLE = FittedTable(
  'a [/red] title', COLUMNS, ROWS, right=COLUMNS[1:3], optional=(COLUMNS[2], COLUMNS[3])
)


def printed(table: FittedTable, width: int) -> str:
  file = io.StringIO()
  Console(width=width, file=file).print(table)
  return file.getvalue()


def test_wide_terminal_has_all_columns():
  text = printed(TABLE, 120)
  assert all(name in text for name in COLUMNS) and 'wider' not in text
  assert '[/red]' in text and 'a [/red] title' in text
  assert '│ stem .. stage1_block1          │' in text


@pytest.mark.parametrize(('width', 'left_out'), [(80, ()), (60, COLUMNS[2:3]), (40, COLUMNS[2:])])
def test_narrow_terminal_leaves_out_columns_and_cuts_no_word(width, left_out):
  text = printed(TABLE, width)
  assert max(map(len, text.splitlines())) <= width and '…' not in text
  table, _, note = text.partition('a wider terminal also shows: ')
  assert ' '.join(note.split()) == ', '.join(left_out)
  kept = [k for k, name in enumerate(COLUMNS) if name not in left_out]
  words = [word for row in (COLUMNS, *ROWS) if row for k in kept for word in row[k].split()]
  assert all(word in table.split() for word in words)


def test_long_names_are_broken_before_a_column_is_left_out():
  name = 'curriculum.sample_weights=easy_weighted'
  table = FittedTable('arms', ('arm', 'p'), [(name, '0.01')], optional=('p',), breakable=('arm',))
  text = printed(table, 40)
  assert '0.01' in text and 'wider' not in text
  cells = [line.split('│')[1].strip() for line in text.splitlines() if line.startswith('│')]
  assert ''.join(cells) == name
