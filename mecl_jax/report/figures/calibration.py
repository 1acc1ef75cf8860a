"""Figures of calibration: confidence against accuracy, before and after temperature scaling."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
import numpy as np

from mecl_jax.report import style
from mecl_jax.report.rows import Rows, groups, texts, values
from mecl_jax.report.style import COLOURS

BEFORE: dict[str, Any] = {'color': COLOURS[1], 'marker': 's', 'markerfacecolor': 'white'}
AFTER: dict[str, Any] = {'color': COLOURS[0], 'marker': 'o'}
LARGEST = 90  # area of the mark of a bin with all examples, in square points
SMALLEST = 4  # area of the mark of a bin with hardly any example, in square points
LONGEST = 18  # letters of a name that fit above a panel


def reliability(rows: Rows) -> Figure:
  """Draws accuracy against confidence, a panel per exit; larger marks hold more examples.

  Args:
    rows: the table `reliability`.
  """
  exits = groups(rows, 'exit')
  columns = 4 if len(exits) > 6 else 3
  labels = 'confidence (%)', 'accuracy (%)'
  figure, panels, cell = style.panels(
    'reliability', len(exits), columns, style.WIDTH / columns, labels
  )
  names = [name for (name,) in exits]
  if max(map(len, names)) > LONGEST:
    style.write_key(figure, names)
    names = [f'exit {number}' for number in range(1, len(names) + 1)]
  for axes, name, bins in zip(panels, names, exits.values(), strict=True):
    axes.plot((0, 100), (0, 100), color='0.5', linewidth=1)
    for calibrated, look in ((False, BEFORE), (True, AFTER)):
      _draw_bins(axes, [row for row in bins if row['calibrated'] is calibrated], look)
    axes.set(xlim=(-5, 105), ylim=(-5, 105))  # with room for the marks at 0 and at 100
    axes.set(xticks=(0, 50, 100), yticks=(0, 50, 100))
    axes.set_title(name, size='small', parse_math=False)
  style.write_legend(figure, cell, _handles())
  return figure


def _draw_bins(axes: Axes, rows: Rows, look: dict[str, Any]) -> None:
  """Draws a line through the bins that hold examples."""
  held = [row for row in rows if row['examples']]
  x, y, examples = (values(held, column) for column in ('confidence', 'accuracy', 'examples'))
  axes.plot(100 * x, 100 * y, color=look['color'], linewidth=1)
  area = SMALLEST + LARGEST * examples / examples.sum()
  face = look.get('markerfacecolor', look['color'])
  looks = {'marker': look['marker'], 'facecolor': face, 'edgecolor': look['color'], 'zorder': 3}
  axes.scatter(100 * x, 100 * y, s=area, **looks)


def effect(rows: Rows) -> Figure:
  """Draws ECE and NLL of every exit before and after temperature scaling.

  Args:
    rows: the table `calibration`.
  """
  labels = texts(rows, 'exit')
  figure = _before_and_after(
    'effect_of_temperatures',
    labels,
    {
      'expected calibration error (ECE)': (values(rows, 'ece_before'), values(rows, 'ece_after')),
      'negative log-likelihood (nats)': (
        values(rows, 'nll_before'),
        values(rows, 'nll_after'),
      ),
    },
  )
  figure.axes[0].set_xlim(0, 1.06 * figure.axes[0].dataLim.x1)
  return figure


def effect_on_rules(areas: Rows) -> Figure:
  """Draws the mean accuracy of every rule, before and after temperature scaling.

  Args:
    areas: the table of that name.
  """
  pairs = groups(areas, 'rule', 'thresholds')
  labels = [f'{rule}, {kind}'.replace('_', ' ') for rule, kind in pairs]
  sides = [
    np.array([_area(rows, calibrated) for rows in pairs.values()]) for calibrated in (False, True)
  ]
  title = 'effect_of_temperatures_on_rules'
  return _before_and_after(
    title, labels, {'mean test accuracy (%)': (100 * sides[0], 100 * sides[1])}
  )


def _area(rows: Rows, calibrated: bool) -> float:
  found = [row for row in rows if row['calibrated'] is calibrated]
  return float(values(found, 'area')[0]) if found else np.nan


def _before_and_after(
  name: str, labels: list[str], pairs: dict[str, tuple[np.ndarray, np.ndarray]]
) -> Figure:
  """Draws a panel per measure, with a line per label from the value before to that after."""
  at = np.arange(len(labels))
  figure = style.new_figure(name, 0.8 + 0.28 * len(labels))
  panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
  for axes, (title, (before, after)) in zip(panels, pairs.items(), strict=True):
    axes.hlines(at, before, after, color='0.6', linewidth=1.5, zorder=1)
    axes.plot(before, at, linestyle='', **BEFORE)
    axes.plot(after, at, linestyle='', **AFTER)
    axes.set_xlabel(title)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(alpha=0.3)
  panels[0].set_yticks(at, labels, parse_math=False)
  panels[0].set_ylim(len(labels) - 0.5, -0.5)
  style.write_legend(figure, None, _handles())
  return figure


def _handles() -> list[Line2D]:
  return [
    Line2D([], [], label='before temperature scaling', linewidth=1, **BEFORE),
    Line2D([], [], label='after temperature scaling', linewidth=1, **AFTER),
  ]
