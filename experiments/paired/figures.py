"""The figures of a study, each a function of rows of `analysis` alone."""

from collections.abc import Sequence
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
import numpy as np

from experiments.paired.table import Rows
from mecl_jax.report.rows import groups, texts, values
from mecl_jax.report.style import COLOURS, LINE, WIDTH, look, write_legend

ROOM = 0.4  # that lines at a place take together, in logarithms of steps or rates
BESIDE = 4  # panels of a forest beside each other, at most
LETTERS = 11  # of a title that fit into an inch
POINTS = 'difference (points)'
FEW = 4  # learning rates that an axis has room to name


def budget_figure(differences: Rows) -> Figure:
  """Differences against the budget: a row per setting, a column per measure, a line per arm.

  Whiskers are the intervals; arms of a budget stand beside each other, so that all are seen.
  """
  settings, arms = _distinct(differences, 'setting'), _distinct(differences, 'arm')
  measures = _distinct(differences, 'measure')
  budgets = sorted({row['budget'] for row in differences})
  height = 1.45 * len(settings) + 0.5
  figure = Figure(figsize=(WIDTH, height), layout='constrained')
  shape: dict[str, Any] = {'sharex': True, 'sharey': True, 'squeeze': False}
  cells = figure.subplots(len(settings), len(measures), **shape)
  of_cell = groups(differences, 'setting', 'measure')
  for line, setting in zip(cells, settings, strict=True):
    for axes, measure in zip(line, measures, strict=True):
      _lines(axes, of_cell.get((setting, measure), []), arms)
    line[0].set_ylabel(_wrapped(setting, 1.3), parse_math=False)
  for axes, measure in zip(cells[0], measures, strict=True):
    axes.set_title(measure, size='medium')
  cells[0, 0].set_xticks(budgets, [_thousands(budget) for budget in budgets])
  cells[0, 0].xaxis.set_minor_locator(NullLocator())
  for axes in cells[-1]:
    axes.set_xlabel('steps')
  figure.supylabel(POINTS, size='medium')
  write_legend(figure, None, _handles(arms))
  return figure


def rate_figure(differences: Rows) -> Figure:
  """Differences of one arm against what settings are named by: a column per measure.

  A line is all settings 'NAME at X' of a name, with X as a number on a logarithmic axis. Below the
  differences is how accurate the baseline is, in percent.
  """
  measures = _distinct(differences, 'measure')
  parted = [row['setting'].rpartition(' at ') for row in differences]
  rows = [
    row | {'name': name, 'at': float(at), 'percent': 100 * row['baseline_accuracy']}
    for row, (name, _, at) in zip(differences, parted, strict=True)
  ]
  names, rates = _distinct(rows, 'name'), sorted({row['at'] for row in rows})
  figure = Figure(figsize=(WIDTH, 4.2), layout='constrained')
  shape: dict[str, Any] = {'sharex': True, 'sharey': 'row', 'squeeze': False}
  for upper, lower, measure in zip(
    *figure.subplots(2, len(measures), **shape), measures, strict=True
  ):
    of_measure = [row for row in rows if row['measure'] == measure]
    _lines(upper, of_measure, names, of='name', x='at')
    upper.set_title(measure, size='medium')
    for (name,), of_name in groups(of_measure, 'name').items():
      style = look(names.index(name)) | {'markersize': 3.5, 'linewidth': 1.0}
      lower.plot(values(of_name, 'at'), values(of_name, 'percent'), **style)
    lower.grid(axis='y', alpha=0.3)
    lower.set_xlabel('learning rate')
    if len(rates) <= FEW:  # within a decade the axis would name every tick between them
      lower.minorticks_off()
      lower.set_xticks(rates, [f'{rate:g}' for rate in rates])
  figure.axes[0].set_ylabel(POINTS)
  figure.axes[len(measures)].set_ylabel('baseline (%)')
  write_legend(figure, None, _handles(names))
  return figure


def forest_figure(differences: Rows) -> Figure:
  """Differences of one arm: a panel per setting, in it a line per measure and budget.

  Filled marks are those whose interval leaves out zero.
  """
  found = groups(differences, 'setting')
  lines = [*groups(sorted(differences, key=_line), 'measure', 'budget')]
  beside = min(BESIDE, len(found))
  turns = -(-len(found) // beside)
  figure = Figure(figsize=(WIDTH, turns * (LINE * len(lines) + 0.9)), layout='constrained')
  cells = figure.subplots(turns, beside, sharex=True, sharey=True, squeeze=False)
  for axes in cells.ravel()[len(found) :]:
    axes.set_axis_off()
  for axes, ((setting,), rows) in zip(cells.flat, found.items(), strict=False):
    at = [
      lines.index(pair) for pair in zip(texts(rows, 'measure'), texts(rows, 'budget'), strict=True)
    ]
    _forest(axes, rows, at)
    for k, (measure, _) in enumerate(lines):
      if k and measure != lines[k - 1][0]:
        axes.axhline(k - 0.5, color='0.8', linewidth=0.8)
    axes.set_title(_wrapped(setting, WIDTH / beside - 0.5), size='medium', parse_math=False)
    axes.tick_params(labelbottom=True)
  labels = [f'{measure}, {int(budget):,} steps' for measure, budget in lines]
  cells[0, 0].set_yticks(range(len(lines)), labels)
  cells[0, 0].set_ylim(len(lines) - 0.5, -0.5)
  figure.supxlabel(POINTS, size='medium')
  return figure


def mean_figure(means: Rows) -> Figure:
  """Means over settings and budgets: a panel per measure, a line per `arm` and `against`.

  Filled marks are those whose interval leaves out zero.
  """
  found = groups(means, 'measure')
  pairs = [*groups(means, 'arm', 'against')]
  figure = Figure(figsize=(WIDTH, LINE * len(pairs) + 0.9), layout='constrained')
  (cells,) = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)
  for axes, ((measure,), rows) in zip(cells, found.items(), strict=True):
    of_row = zip(texts(rows, 'arm'), texts(rows, 'against'), strict=True)
    _forest(axes, rows, [pairs.index(pair) for pair in of_row])
    axes.set_title(measure, size='medium')
  labels = [f'{arm} - {against}' for arm, against in pairs]
  cells[0].set_yticks(range(len(pairs)), labels, parse_math=False)
  cells[0].set_ylim(len(pairs) - 0.5, -0.5)
  figure.supxlabel(POINTS, size='medium')
  return figure


def _lines(
  axes: Axes, rows: Rows, names: Sequence[str], of: str = 'arm', x: str = 'budget'
) -> None:
  """A line per name in the column `of`, each a little beside the one before it."""
  axes.axhline(0, color='black', linewidth=1)
  axes.set_xscale('log')
  axes.grid(axis='y', alpha=0.3)
  for (name,), of_name in groups(rows, of).items():
    k = names.index(name)
    shift = ROOM * ((k + 0.5) / len(names) - 0.5)
    style = look(k) | {'markersize': 3.5, 'linewidth': 1.0, 'elinewidth': 1.0}
    where = values(of_name, x) * np.exp(shift)
    axes.errorbar(where, values(of_name, 'difference'), _reach(of_name), **style)


def _handles(names: Sequence[str]) -> list[Line2D]:
  return [Line2D([], [], **look(k), label=name) for k, name in enumerate(names)]


def _forest(axes: Axes, rows: Rows, at: Sequence[int]) -> None:
  axes.axvline(0, color='black', linewidth=1)
  axes.grid(axis='x', alpha=0.3)
  sure = (values(rows, 'low') > 0) | (values(rows, 'high') < 0)
  style: dict[str, Any] = {'color': COLOURS[0], 'linestyle': 'none'}
  axes.errorbar(values(rows, 'difference'), at, xerr=_reach(rows), **style, elinewidth=1.6)
  for chosen, face in ((sure, COLOURS[0]), (~sure, 'white')):
    x, y = values(rows, 'difference')[chosen], np.array(at)[chosen]
    axes.plot(x, y, **style, marker='o', markersize=5, markerfacecolor=face)


def _reach(rows: Rows) -> np.ndarray:
  """How far the interval reaches below and above, [2, rows]; NaN draws none."""
  middle = values(rows, 'difference')
  return np.stack([middle - values(rows, 'low'), values(rows, 'high') - middle])


def _line(row: dict[str, Any]) -> tuple[bool, bool, str, int]:
  """Order of the lines of a forest: early exits, the final one, the area; budgets rising."""
  measure = row['measure']
  return measure == 'area', measure == 'final', measure, row['budget']


def _thousands(steps: int) -> str:
  """300 as it is, 1,000 as '1k': panels are narrow."""
  return f'{steps}' if steps < 1000 else f'{steps / 1000:g}k'


def _distinct(rows: Rows, column: str) -> list[str]:
  return list(dict.fromkeys(texts(rows, column)))


def _wrapped(text: str, inches: float) -> str:
  return textwrap.fill(text, int(LETTERS * inches), break_on_hyphens=False)
