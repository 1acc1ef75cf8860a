"""Tables for terminals of any width: columns are left out where words would be cut."""

from collections.abc import Iterator, Sequence
import dataclasses

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

BROKEN = 20  # characters of a name in a line, if it is broken
FRAME = 3  # characters that a column has besides its text


@dataclasses.dataclass(frozen=True)
class FittedTable:
  """A table that fits the terminal it is printed to.

  Cells wrap between words, numbers do not. If a word would still be cut, columns are left out, in
  a given order, and a line below the table names them. Everything is printed as it is, without
  markup.

  Attributes:
    title: above the table.
    columns: headings.
    rows: of cells, one per column. An empty row is a line between two parts of the table.
    right: headings of the columns that are aligned on the right.
    optional: headings of columns that may be left out, the least important one first.
    breakable: headings of columns with long names, as of fields and files, which may be broken.
    caption: lines below the table.
  """

  title: str
  columns: Sequence[str]
  rows: Sequence[Sequence[str]]
  right: Sequence[str] = ()
  optional: Sequence[str] = ()
  breakable: Sequence[str] = ()
  caption: str = ''

  def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
    out: list[str] = []
    for name in ('', *self.optional):
      out += [name] if name else []
      kept = [k for k, column in enumerate(self.columns) if column not in out]
      room = options.max_width - FRAME * len(kept) - 1
      least, wide = zip(*map(self._widths, kept), strict=True)
      if sum(least) <= room:
        break
    yield self._table(kept, _spread(least, wide, room))
    lines = [self.caption] if self.caption else []
    if out:
      lines.append(f'a wider terminal also shows: {", ".join(out)}')
    for line in lines:
      yield Text(line, style='italic')

  def _widths(self, number: int) -> tuple[int, int]:
    """Returns the least width of a column, and that of its longest cell.

    The least width cuts no word, and no number from its unit.
    """
    name = self.columns[number]
    cells = [row[number] for row in self.rows if row]
    parts = cells if name in self.right else [word for cell in cells for word in cell.split()]
    least = max(map(cell_len, ('-', *name.split(), *parts)))
    wide = max(map(cell_len, (name, *cells)))
    return min(least, BROKEN) if name in self.breakable else least, wide

  def _table(self, kept: Sequence[int], widths: Sequence[int]) -> Table:
    table = Table(title=Text(self.title), title_justify='left')
    for number, width in zip(kept, widths, strict=True):
      name = self.columns[number]
      justify: JustifyMethod = 'right' if name in self.right else 'left'
      table.add_column(Text(name), justify=justify, overflow='fold', width=width)
    for row in self.rows:
      if row:
        table.add_row(*(Text(row[number]) for number in kept))
      else:
        table.add_section()
    return table


def _spread(least: Sequence[int], wide: Sequence[int], room: int) -> list[int]:
  """Returns widths of columns from `least` to `wide`, which sum to `room` at most if they can."""
  widths = list(least)
  while sum(widths) < min(room, sum(wide)):
    lines = [most / width if width < most else 0 for width, most in zip(widths, wide, strict=True)]
    widths[lines.index(max(lines))] += 1
  return widths
