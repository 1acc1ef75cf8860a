"""What all figures share: colours, markers, dashes, panels, legends, and saving as PNG and SVG."""

from collections.abc import Sequence
import io
import os
import pathlib
import textwrap
from typing import Any

from matplotlib import colormaps, rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
import numpy as np

from mecl_jax.files import atomic

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
MARKERS = 'osD^vP*'
DASHES = ((0, (4, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 4)))
LINES = ('-', *DASHES)
# Without the palest colours, which are hard to tell from white paper.
SHADES = ListedColormap(colormaps['YlGnBu'](np.linspace(0.15, 1, 256)))
DPI = 150  # dots per inch of a PNG
WIDTH = 7.0  # inches, of a figure on the page
LINE = 0.2  # inches, from one line of text to the next


def look(index: int) -> dict[str, Any]:
  """Returns colour, marker and dashes of line number `index`.

  28 lines differ, and they differ in grey print, too.
  """
  turn, at = divmod(index, len(COLOURS))
  marker = MARKERS[(at + turn) % len(MARKERS)]
  return {'color': COLOURS[at], 'marker': marker, 'linestyle': LINES[turn % len(LINES)]}


def new_figure(name: str, height: float, width: float = WIDTH) -> Figure:
  """Makes an empty figure of the page.

  Args:
    name: of its file, without a suffix; letters, digits and underscores.
    height, width: in inches.
  """
  figure = Figure(figsize=(width, height), layout='constrained')
  figure.set_label(name)
  return figure


def panels(
  name: str,
  count: int,
  columns: int,
  height: float,
  labels: tuple[str, str] | None = None,
  width: float = WIDTH,
) -> tuple[Figure, list[Axes], Axes | None]:
  """Makes a figure with a grid of panels.

  Args:
    name: of the file, see `new_figure`.
    count: number of panels.
    columns: most panels in a row.
    height: of a panel, in inches.
    labels: of the x and y axes; all panels then share these axes, and the outer ones show them.
    width: of the figure, in inches.

  Returns:
    the figure, its panels, and an empty cell after the last panel if the grid has one.
  """
  columns = min(columns, count)
  rows = -(-count // columns)
  figure = new_figure(name, height * rows, width)
  shared = labels is not None
  cells = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
  flat = cells.ravel().tolist()
  for axes in flat[count:]:
    axes.set_axis_off()
  for axes in flat[:count]:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
  if labels is not None:
    for axes in flat[max(0, count - columns) : count]:  # those without a panel below them
      axes.set_xlabel(labels[0])
      axes.tick_params(labelbottom=True)
    for axes in cells[:, 0]:
      axes.set_ylabel(labels[1])
  return figure, flat[:count], flat[count] if len(flat) > count else None


def numbered(names: Sequence[str]) -> list[str]:
  """Returns the names with their numbers, from 1: '1 stage1', '2 stage2'."""
  return [f'{number} {name}' for number, name in enumerate(names, start=1)]


def write_key(figure: Figure, names: Sequence[str]) -> None:
  """Writes above a figure which number stands for which exit; the figure grows accordingly."""
  text = textwrap.fill(
    'exits: ' + ', '.join(n.replace(' ', '\N{NO-BREAK SPACE}') for n in numbered(names)),
    int(13 * figure.get_figwidth()),
    break_on_hyphens=False,
  )
  figure.suptitle(text, size='small', multialignment='left', parse_math=False)
  _grow(figure, LINE * len(text.splitlines()))


def write_legend(figure: Figure, cell: Axes | None, handles: Sequence[Artist]) -> None:
  """Puts a legend into an empty cell, or below the figure, which then grows accordingly."""
  if cell is not None:
    cell.legend(handles=handles, loc='center', frameon=False)
    return
  longest = max(len(str(handle.get_label())) for handle in handles)
  columns = max(1, min(4, int(11 * figure.get_figwidth()) // (longest + 8)))
  figure.legend(handles=handles, loc='outside lower center', ncols=columns, frameon=False)
  _grow(figure, LINE * (1 + -(-len(handles) // columns)))


def evenly(values: np.ndarray, most: int) -> np.ndarray:
  """Returns `values` [K], or `most` of them at even distances, including the first and the last."""
  if len(values) <= most:
    return values
  return values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def save_png(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure as a PNG of `DPI` dots per inch."""
  with atomic(path) as file:
    figure.savefig(file, format='png', dpi=DPI)


def save(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure as a PNG, and as an SVG beside it.

  Args:
    figure: to write.
    path: of the PNG.
  """
  save_png(figure, path)
  with atomic(pathlib.Path(path).with_suffix('.svg')) as file:
    file.write(as_svg(figure))


def as_svg(figure: Figure) -> bytes:
  """Returns a figure as an SVG; equal figures are equal bytes."""
  file = io.BytesIO()
  with rc_context({'svg.hashsalt': 'mecl_jax'}):  # of the identifiers, which are random otherwise
    figure.savefig(file, format='svg', metadata={'Date': None})
  return file.getvalue()


def _grow(figure: Figure, inches: float) -> None:
  figure.set_figheight(figure.get_figheight() + inches)


def shorten(name: str, most: int = 24) -> str:
  """Returns a name in at most so many characters, so that it leaves room for the drawing."""
  return name if len(name) <= most else f'{name[: most - 1]}…'
