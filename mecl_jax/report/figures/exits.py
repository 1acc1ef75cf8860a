"""Figures that compare exits: overthinking, agreement, ensembles."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from mecl_jax.report import style
from mecl_jax.report.rows import Rows, texts, values
from mecl_jax.report.style import COLOURS, SHADES

MEASURES = {  # of overthinking
  'oracle': 'at least one exit is right',
  'last': 'the last exit is right',
  'wasteful': 'an earlier exit is right',
  'destructive': 'an earlier exit is right, the last is wrong',
}
MEANS = {'single': 'exit alone', 'arithmetic': 'arithmetic mean', 'geometric': 'geometric mean'}


def overthinking(shares: Rows, first_correct: Rows) -> Figure:
  """Draws the shares of overthinking, and the first exit that is right.

  Args:
    shares: the table `overthinking`.
    first_correct: the table `first_correct`.
  """
  bars = (len(shares), len(first_correct))
  figure = style.new_figure('overthinking', 1.6 + 0.28 * sum(bars))
  top, bottom = figure.subplots(2, height_ratios=bars)
  names = [MEASURES.get(name, name) for name in texts(shares, 'measure')]
  _draw_shares(top, names, values(shares, 'share'), COLOURS[0])
  _draw_shares(bottom, texts(first_correct, 'exit'), values(first_correct, 'share'), COLOURS[4])
  top.set_title('Images for which ..', size='medium')
  bottom.set_title('Images by the first exit that is right', size='medium')
  return figure


def _draw_shares(axes: Axes, names: list[str], share: np.ndarray, colour: str) -> None:
  at = np.arange(len(names))
  bars = axes.barh(at, 100 * share, height=0.7, color=colour, edgecolor='black', linewidth=0.5)
  axes.bar_label(bars, fmt='%.1f', padding=2, size='small')
  axes.set_yticks(at, names, size='small', parse_math=False)
  axes.set(ylim=(len(names) - 0.4, -0.6), xlabel='test images (%)')
  axes.margins(x=0.16)
  axes.grid(alpha=0.3, axis='x')
  axes.set_axisbelow(True)


def agreement(rows: Rows) -> Figure:
  """Draws how often two exits predict the same class, and how often both are wrong.

  Args:
    rows: the table `agreement`.
  """
  names = list(dict.fromkeys(texts(rows, 'exit')))
  cells = {(row['exit'], row['other']): row for row in rows}
  ordered = [cells[one, other] for one in names for other in names]
  square = (len(names), len(names))
  same = 100 * values(ordered, 'same_class').reshape(square)
  ratio = values(ordered, 'ratio').reshape(square)
  figure = style.new_figure('agreement', 3.8)
  left, right = figure.subplots(1, 2)
  _draw_heat(left, same, '.0f')
  _draw_heat(right, ratio, '.1f')
  left.set_title('Both predict the same class (%)', size='medium')
  right.set_title('Both are wrong (times chance)', size='medium')
  style.write_key(figure, names)
  return figure


def _draw_heat(axes: Axes, heat: np.ndarray, form: str) -> None:
  """Draws shaded cells with numbers; the diagonal, an exit with itself, is left empty."""
  heat = np.where(np.eye(len(heat), dtype=bool), np.nan, heat)
  known = heat[np.isfinite(heat)]
  norm = Normalize(known.min(), known.max()) if known.size else Normalize(0, 1)
  edges = np.arange(len(heat) + 1) - 0.5
  axes.pcolormesh(edges, edges, heat, cmap=SHADES, norm=norm, edgecolor='white', linewidth=1)
  size = 9 if len(heat) < 7 else 6.5
  for (row, column), value in np.ndenumerate(heat):
    if np.isfinite(value):
      ink = 'white' if norm(value) > 0.55 else 'black'
      centre: dict[str, Any] = {'ha': 'center', 'va': 'center', 'size': size, 'color': ink}
      axes.text(column, row, f'{value:{form}}', **centre)
  numbers = [str(k + 1) for k in range(len(heat))]
  for axis in (axes.xaxis, axes.yaxis):
    axis.set_ticks(np.arange(len(heat)), numbers, size='small')
  axes.set(aspect='equal', ylim=(len(heat) - 0.5, -0.5), xlabel='exit', ylabel='exit')
  axes.tick_params(length=0)


def ensembles(rows: Rows) -> Figure:
  """Draws accuracy and NLL of each exit alone and of the mean of all exits up to it.

  Args:
    rows: the table `ensembles`.
  """
  at = np.arange(1, len(rows) + 1)
  figure, panels, _ = style.panels('ensembles', 2, 2, 2.8)
  looks = {column: style.look(k) | {'markersize': 5} for k, column in enumerate(MEANS)}
  for column, look in looks.items():
    panels[0].plot(at, 100 * values(rows, column), **look)
    panels[1].plot(at, values(rows, f'nll_{column}'), **look)
  for axes, title in zip(panels, ('test accuracy (%)', 'test NLL (nats)'), strict=True):
    axes.set_xticks(at)
    axes.set(xlabel='exit', ylabel=title)
  style.write_key(figure, texts(rows, 'exit'))
  handles = [Line2D([], [], label=MEANS[column], **look) for column, look in looks.items()]
  style.write_legend(figure, None, handles)
  return figure
