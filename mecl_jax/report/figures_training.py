"""The figure of how training went, and of what the curriculum showed when."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mecl_jax.report import figures_style as style
from mecl_jax.report.figures_style import values
from mecl_jax.report.page import Rows
from mecl_jax.report.plots import COLOURS

PREFIX = 'validation:'


def training(rows: Rows) -> Figure:
  """Draws loss, validation accuracy of every exit and visible share against the step.

  Args:
    rows: the table `training`; a cell without a number was not measured at that step.
  """
  exits = style.columns_of(rows, PREFIX)
  figure = Figure(figsize=(style.WIDTH, 6), layout='constrained')
  loss, accuracy, visible = figure.subplots(3, sharex=True, height_ratios=(2, 3, 2))
  for (phase,), mine in style.groups(rows, 'phase').items():
    _draw(loss, mine, 'loss', 1)
    _draw(visible, mine, 'visible', 100, drawstyle='steps-pre')
    start = values(mine, 'step')[0]
    for axes in (loss, accuracy, visible):
      axes.axvline(start, color='0.6', linewidth=1, linestyle=':')
    at = {'xycoords': ('data', 'axes fraction'), 'textcoords': 'offset points'}
    loss.annotate(phase, (start, 1), xytext=(2, 3), annotation_clip=False, **at)
  handles = []
  for k, (name, column) in enumerate(exits.items()):
    look = style.look(k) | {'markersize': 4, 'linewidth': 1}
    _draw(accuracy, rows, column, 100, **look)
    handles.append(Line2D([], [], label=name, **look))
  loss.set(ylabel='training loss')
  accuracy.set(ylabel='validation accuracy (%)')
  visible.set(ylabel='visible share (%)', xlabel='step', ylim=(0, 105))
  visible.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  visible.xaxis.set_major_formatter('{x:,.0f}')
  for axes in (loss, accuracy, visible):
    axes.grid(alpha=0.3)
  style.write_legend(figure, None, handles)
  return figure


def _draw(axes: Axes, rows: Rows, column: str, factor: float, **look: Any) -> None:
  """A line through the steps at which a column was measured."""
  measured = [row for row in rows if row[column] is not None]
  x, y = values(measured, 'step'), factor * values(measured, column)
  plain: dict[str, Any] = {'color': COLOURS[0], 'linewidth': 1}
  axes.plot(x, y, **(plain | look))
