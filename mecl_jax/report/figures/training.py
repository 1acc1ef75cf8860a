"""The figure of training: loss, validation accuracy, and the share that the curriculum shows."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mecl_jax.evaluation.tasks import CLASSIFICATION, Shown
from mecl_jax.report import style
from mecl_jax.report.rows import Rows, columns_of, groups, values
from mecl_jax.report.style import COLOURS

PREFIX = 'validation:'


def training_curves(rows: Rows, shown: Shown = CLASSIFICATION.shown) -> Figure:
  """Draws loss, validation accuracy of each exit and, if `paced`, visible share over the steps.

  Args:
    rows: the table `training`; None in a cell means not measured at that step.
    shown: the quality of the task, in place of the accuracy.
  """
  exits = columns_of(rows, PREFIX)
  heights = (2, 3, 2) if paced(rows) else (2, 3)
  figure = style.new_figure('training', 6 * sum(heights) / 7)
  panels = figure.subplots(len(heights), sharex=True, height_ratios=heights)
  loss, accuracy, *visible = panels
  start = 0.0  # a phase begins where the one before ends, and not at its first record
  for (phase,), mine in groups(rows, 'phase').items():
    _draw(loss, mine, 'loss', 1)
    for axes in visible:
      _draw(axes, mine, 'visible', 100, drawstyle='steps-pre')
    for axes in panels:
      axes.axvline(start, color='0.6', linewidth=1, linestyle=':')
    at = {'xycoords': ('data', 'axes fraction'), 'textcoords': 'offset points'}
    loss.annotate(phase, (start, 1), xytext=(2, 3), annotation_clip=False, **at)
    start = values(mine, 'step').max()
  handles = []
  for k, (name, column) in enumerate(exits.items()):
    look = style.look(k) | {'markersize': 4, 'linewidth': 1}
    _draw(accuracy, rows, column, shown.factor, **look)
    handles.append(Line2D([], [], label=name, **look))
  loss.set(ylabel='training loss')
  accuracy.set(ylabel=f'validation {shown.axis}')
  for axes in visible:
    axes.set(ylabel='visible training\nimages (%)', ylim=(0, 105))
  panels[-1].set_xlabel('step')
  panels[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
  panels[-1].xaxis.set_major_formatter('{x:,.0f}')
  for axes in panels:
    axes.grid(alpha=0.3)
  style.write_legend(figure, None, handles)
  return figure


def paced(rows: Rows) -> bool:
  """Returns whether a curriculum hid a part of the training images at any step."""
  return bool((values(rows, 'visible') < 1).any())


def _draw(axes: Axes, rows: Rows, column: str, factor: float, **look: Any) -> None:
  """Draws a line through the steps at which a column was measured."""
  measured = [row for row in rows if row[column] is not None]
  x, y = values(measured, 'step'), factor * values(measured, column)
  plain: dict[str, Any] = {'color': COLOURS[0], 'linewidth': 1}
  axes.plot(x, y, **(plain | look))
