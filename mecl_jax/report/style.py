"""What the figures of the page share: columns of tables, the looks of lines, numbered exits."""

from collections.abc import Sequence
import textwrap
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from mecl_jax.report.pages.page import Rows
from mecl_jax.report.pictures.curriculum import DASHES
from mecl_jax.report.pictures.plots import COLOURS, MARKERS

WIDTH = 7.0  # inches, of a figure
LINE = 0.2  # inches, from one line of text to the next
LINES = ('-', *DASHES)
BEFORE: dict[str, Any] = {'color': COLOURS[1], 'marker': 's', 'markerfacecolor': 'white'}
AFTER: dict[str, Any] = {'color': COLOURS[0], 'marker': 'o'}


def values(rows: Rows, column: str) -> np.ndarray:
  """A column of numbers, float64 [rows]; NaN where there is none."""
  return np.array([row[column] for row in rows], np.float64)


def texts(rows: Rows, column: str) -> list[str]:
  """A column of words."""
  return [str(row[column]) for row in rows]


def groups(rows: Rows, *columns: str) -> dict[tuple[str, ...], Rows]:
  """The rows that are equal in these columns, as text, in the order in which they come."""
  found: dict[tuple[str, ...], Rows] = {}
  for row in rows:
    found.setdefault(tuple(str(row[column]) for column in columns), []).append(row)
  return found


def columns_of(rows: Rows, prefix: str) -> dict[str, str]:
  """The columns that are called `prefix` and an exit: name of the exit to name of the column."""
  return {name.removeprefix(prefix): name for name in rows[0] if name.startswith(prefix)}


def look(index: int) -> dict[str, Any]:
  """How the line of that number looks; 28 of them differ, and each also in grey print."""
  turn, at = divmod(index, len(COLOURS))
  marker = MARKERS[(at + turn) % len(MARKERS)]
  return {'color': COLOURS[at], 'marker': marker, 'linestyle': LINES[turn % len(LINES)]}


def numbered(names: Sequence[str]) -> list[str]:
  """Names after their numbers, from 1: with many exits a figure has room for the numbers alone."""
  return [f'{number} {name}' for number, name in enumerate(names, start=1)]


def write_key(figure: Figure, names: Sequence[str]) -> None:
  """Writes above a figure, which grows by it, which exit has which number."""
  text = textwrap.fill(
    'exits: ' + ', '.join(n.replace(' ', '\N{NO-BREAK SPACE}') for n in numbered(names)),
    int(13 * figure.get_figwidth()),
    break_on_hyphens=False,
  )
  figure.suptitle(text, size='small', multialignment='left', parse_math=False)
  _grow(figure, LINE * len(text.splitlines()))


def panels(
  count: int, columns: int, height: float, labels: tuple[str, str] | None = None
) -> tuple[Figure, list[Axes], Axes | None]:
  """A grid of panels, which share their axes where they share their labels.

  Args:
    count: of the panels.
    columns: of them beside each other, at most.
    height: of a panel, in inches.
    labels: below and beside the outer panels.

  Returns:
    the figure, its panels, and an empty cell behind the last one if the grid has one.
  """
  columns = min(columns, count)
  rows = -(-count // columns)
  figure = Figure(figsize=(WIDTH, height * rows), layout='constrained')
  shared = labels is not None
  cells = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
  flat = cells.ravel().tolist()
  for axes in flat[count:]:
    axes.set_axis_off()
  for axes in flat[:count]:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
  if labels is not None:
    for axes in flat[max(0, count - columns) : count]:  # those with at most an empty cell below
      axes.set_xlabel(labels[0])
      axes.tick_params(labelbottom=True)
    for axes in cells[:, 0]:
      axes.set_ylabel(labels[1])
  return figure, flat[:count], flat[count] if len(flat) > count else None


def write_legend(figure: Figure, cell: Axes | None, handles: Sequence[Artist]) -> None:
  """Puts a legend into an empty cell, or below the figure, which then grows by it."""
  if cell is not None:
    cell.legend(handles=handles, loc='center', frameon=False)
    return
  longest = max(len(str(handle.get_label())) for handle in handles)
  columns = max(1, min(4, int(11 * figure.get_figwidth()) // (longest + 8)))
  figure.legend(handles=handles, loc='outside lower center', ncols=columns, frameon=False)
  _grow(figure, LINE * (1 + -(-len(handles) // columns)))


def _grow(figure: Figure, inches: float) -> None:
  figure.set_figheight(figure.get_figheight() + inches)
