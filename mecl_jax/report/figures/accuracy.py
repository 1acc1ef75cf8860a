"""Figures of accuracy against cost, in MACs and in time, and of where images leave.

Every figure is a function of tables alone.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, MaxNLocator
import numpy as np

from mecl_jax.evaluation.rules import FIXED
from mecl_jax.evaluation.tasks import CLASSIFICATION, Shown
from mecl_jax.report import style
from mecl_jax.report.rows import Rows, columns_of, groups, texts, values
from mecl_jax.report.style import SHADES

KINDS = {  # of thresholds
  'budgeted': 'thresholds by budget (MSDNet)',
  'shared': 'one threshold for all exits',
  'per_exit': 'one threshold per exit',
  'given': 'given thresholds',
}
STATIC: dict[str, Any] = {'color': 'black', 'marker': 'o', 'markersize': 5, 'linestyle': ''}
WIDE = 9.0  # inches, of the figure of all rules
MARKS = 4  # markers along a line
TIGHT = 0.04  # least share of a bar that has room for a number
HALO = [
  withStroke(linewidth=2.5, foreground='white')
]  # around a number, so that lines do not hide it


def accuracy_against_macs(
  exits: Rows, curve: Rows, operating_points: Rows, shown: Shown = CLASSIFICATION.shown
) -> Figure:
  """Draws test accuracy against mean MACs, for single exits and for early exit by every rule.

  There is a panel per kind of thresholds. Rules with calibrated confidences are left out.

  Args:
    exits, curve, operating_points: the tables of these names.
    shown: the quality of the task, in place of the accuracy.
  """
  label, name = 'mean MACs of a test image', f'{shown.column}_against_macs'
  macs = values(exits, 'macs')
  figure = _against(name, exits, macs, curve, operating_points, 'test_macs', label, shown)
  for axes in figure.axes:
    axes.xaxis.set_major_formatter(EngFormatter())
  return figure


def accuracy_against_latency(
  exits: Rows,
  latency: Rows,
  curve: Rows,
  operating_points: Rows,
  shown: Shown = CLASSIFICATION.shown,
) -> Figure:
  """Draws test accuracy against mean time, as `accuracy_against_macs` does against MACs.

  Times are medians of the smallest measured batch, divided by its size.

  Args:
    exits, latency, curve, operating_points: the tables of these names.
    shown: as of `accuracy_against_macs`.
  """
  smallest = values(latency, 'batch').min()
  of_image = {r['exit']: r['p50_ms'] / smallest for r in latency if r['batch'] == smallest}
  # The times of fixed exits were measured beside those of the rules.
  of_image |= {row['thresholds']: row['test_ms'] for row in curve if row['rule'] == FIXED}
  times = np.array([of_image[row['exit']] for row in exits], np.float64)
  label, name = 'mean time of a test image (ms)', f'{shown.column}_against_time'
  return _against(name, exits, times, curve, operating_points, 'test_ms', label, shown)


def _against(
  name: str,
  exits: Rows,
  costs: np.ndarray,
  curve: Rows,
  points: Rows,
  column: str,
  label: str,
  shown: Shown,
) -> Figure:
  """Draws a panel per kind of thresholds; fixed exits are in all of them.

  Args:
    name: of the figure.
    exits, curve, points: tables.
    costs: float [exits], of an image that runs up to an exit and no other head.
    column: of `curve` and `points`, with the cost in the unit of `costs`.
    label: of the x axis.
    shown: the quality, on the y axis.
  """
  ruled = [row for row in curve if row['rule'] != FIXED]
  plain = [row for row in ruled if not row['calibrated']] or ruled
  rules = list(dict.fromkeys(texts(plain, 'rule')))
  looks = {rule: _look(k) for k, rule in enumerate(rules)}
  kinds = groups(plain, 'thresholds')
  labels = label, f'test {shown.axis}'
  figure, panels, cell = style.panels(name, len(kinds), 2, 3.2, labels, WIDE)
  for axes, ((kind,), rows) in zip(panels, kinds.items(), strict=True):
    _draw_static(axes, exits, costs, shown)
    for (rule,), line in groups(rows, 'rule').items():
      _draw_line(axes, line, column, rules.index(rule), len(rules), shown)
    for row in points:
      if row['rule'] == FIXED and row['chosen']:
        _mark(axes, row, column, STATIC, shown)
      elif row['thresholds'] == kind:
        _mark(axes, row, column, looks[str(row['rule'])], shown)
    axes.set_title(KINDS.get(kind, kind), size='medium')
    axes.xaxis.set_major_locator(MaxNLocator(5))
  style.write_key(figure, texts(exits, 'exit'))
  style.write_legend(figure, cell, _handles(looks, points))
  return figure


def _draw_static(axes: Axes, exits: Rows, costs: np.ndarray, shown: Shown) -> None:
  """Draws a numbered point per exit, with the interval of its accuracy."""
  accuracy = shown.factor * values(exits, shown.column)
  bounds = [shown.factor * values(exits, f'{shown.column}_{side}') for side in ('low', 'high')]
  errors = (accuracy - bounds[0], bounds[1] - accuracy)
  axes.errorbar(costs, accuracy, yerr=errors, capsize=2, elinewidth=1, zorder=2.5, **STATIC)
  for number, at in enumerate(zip(costs, accuracy, strict=True), start=1):
    below: dict[str, Any] = {'textcoords': 'offset points', 'xytext': (6, -11), 'weight': 'bold'}
    axes.annotate(str(number), at, zorder=6, path_effects=HALO, **below)


def _draw_line(axes: Axes, rows: Rows, column: str, number: int, count: int, shown: Shown) -> None:
  """Draws the line of rule `number` of `count`; where lines coincide, their marks alternate."""
  rows = sorted(rows, key=lambda row: float(row[column] or 0))
  x, y = values(rows, column), shown.factor * values(rows, f'test_{shown.column}')
  every = max(1, len(rows) // MARKS)
  first = min(number * every // count, len(rows) - 1)
  width = 2.4 - 1.4 * number / count  # the lines below are wider, so that all can be seen
  look = _look(number)
  axes.plot(x, y, linewidth=width, markevery=(first, every), **look)


def _look(number: int) -> dict[str, Any]:
  """Returns colour, dashes and marker of a rule; marks have a white rim."""
  rim: dict[str, Any] = {'markersize': 6, 'markeredgecolor': 'white', 'markeredgewidth': 0.6}
  return style.look(number) | rim | {'linestyle': style.LINES[number % len(style.LINES)]}


def _mark(axes: Axes, row: dict[str, Any], column: str, look: dict[str, Any], shown: Shown) -> None:
  """Draws a ring at an operating point, or a star if it is the chosen one."""
  at = (row[column], shown.factor * row[f'test_{shown.column}'])
  size, marker, face = (16, '*', look['color']) if row['chosen'] else (10, 'o', 'none')
  rim = 'black' if row['chosen'] else look['color']
  mark: dict[str, Any] = {'markeredgecolor': rim, 'markerfacecolor': face, 'zorder': 5}
  axes.plot(*at, marker, markersize=size, markeredgewidth=1.2, **mark)


def _handles(looks: dict[str, dict[str, Any]], points: Rows) -> list[Line2D]:
  """Returns the entries of the legend."""
  handles = [
    Line2D([], [], label=rule.replace('_', ' '), linewidth=1.6, **look)
    for rule, look in looks.items()
  ]
  handles.insert(0, Line2D([], [], label='all images at one exit', **STATIC))
  if points:
    ring: dict[str, Any] = {'linestyle': '', 'markeredgecolor': 'black', 'markerfacecolor': 'none'}
    handles.append(Line2D([], [], label='operating point', marker='o', markersize=9, **ring))
  if any(row['chosen'] for row in points):
    star = ring | {'markerfacecolor': 'white'}
    handles.append(
      Line2D([], [], label='chosen operating point', marker='*', markersize=14, **star)
    )
  return handles


def leaving(operating_points: Rows) -> Figure:
  """Draws the share of the test images that leave at each exit, a bar per operating point."""
  exits = columns_of(operating_points, 'leave:')
  figure = style.new_figure('leaving', 0.8 + 0.3 * len(operating_points))
  axes = figure.subplots()
  left = np.zeros(len(operating_points))
  handles = []
  for k, (name, column) in enumerate(exits.items()):
    share = 100 * values(operating_points, column)
    colour = SHADES(k / max(1, len(exits) - 1))
    edge: dict[str, Any] = {'color': colour, 'edgecolor': 'black', 'linewidth': 0.5}
    # The edges at 0 and at 100 would be cut in half by the frame.
    axes.barh(np.arange(len(left)), share, left=left, height=0.72, clip_on=False, zorder=3, **edge)
    ink = 'black' if np.dot(to_rgb(colour), (0.3, 0.6, 0.1)) > 0.5 else 'white'
    for row, (start, wide) in enumerate(zip(left, share, strict=True)):
      if wide >= 100 * TIGHT:
        centre: dict[str, Any] = {'ha': 'center', 'va': 'center', 'size': 'small', 'color': ink}
        centre['zorder'] = 4
        axes.text(start + wide / 2, row, f'{wide:.0f}', **centre)
    left += share
    handles.append(Patch(label=name, facecolor=colour, edgecolor='black', linewidth=0.5))
  _name_points(axes, operating_points)
  axes.set(xlim=(0, 100), xlabel='test images that leave at each exit (%)')
  style.write_legend(figure, None, handles)
  return figure


def _name_points(axes: Axes, points: Rows) -> None:
  """Writes rule and thresholds beside each bar, with a star and in bold for the chosen point."""
  names = [f'{row["rule"]}, {row["thresholds"]}'.replace('_', ' ') for row in points]
  starred = [
    f'★ {name}' if row['chosen'] else name for name, row in zip(names, points, strict=True)
  ]
  axes.set_yticks(np.arange(len(points)), starred, parse_math=False)
  for label, row in zip(axes.get_yticklabels(), points, strict=True):
    label.set_fontweight('bold' if row['chosen'] else 'normal')
  axes.set_ylim(len(points) - 0.5, -0.5)
