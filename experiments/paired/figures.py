"""The figures of a study, each a function of a table of `analysis` alone."""

from collections.abc import Sequence
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
import numpy as np
import pandas as pd

from mecl_jax.report.style import COLOURS, LINE, WIDTH, look, write_legend

ROOM = 0.4  # that lines at a place take together, in logarithms of steps or rates
BESIDE = 4  # panels of a forest beside each other, at most
LETTERS = 11  # of a title that fit into an inch
POINTS = 'difference (points)'
FEW = 4  # learning rates that an axis has room to name
SMALL: dict[str, Any] = {'markersize': 3.5, 'linewidth': 1.0}


def budget_figure(differences: pd.DataFrame) -> Figure:
  """Draws differences against the budget: a row per setting, a column per measure, a line per arm.

  Whiskers are the intervals. The arms of a budget stand beside each other so that all are visible.
  """
  settings, arms, measures = (_distinct(differences, n) for n in ('setting', 'arm', 'measure'))
  figure = Figure(figsize=(WIDTH, 1.45 * len(settings) + 0.5), layout='constrained')
  shape: dict[str, Any] = {'sharex': True, 'sharey': True, 'squeeze': False}
  cells = figure.subplots(len(settings), len(measures), **shape)
  for line, setting in zip(cells, settings, strict=True):
    of_setting = differences[differences['setting'] == setting]
    for axes, measure in zip(line, measures, strict=True):
      _lines(axes, of_setting[of_setting['measure'] == measure], arms)
    line[0].set_ylabel(_wrapped(setting, 1.3), parse_math=False)
  for axes, measure in zip(cells[0], measures, strict=True):
    axes.set_title(measure, size='medium')
  budgets = sorted(_distinct(differences, 'budget'))
  cells[0, 0].set_xticks(budgets, [_thousands(budget) for budget in budgets])
  cells[0, 0].xaxis.set_minor_locator(NullLocator())
  for axes in cells[-1]:
    axes.set_xlabel('steps')
  figure.supylabel(POINTS, size='medium')
  write_legend(figure, None, _handles(arms))
  return figure


def rate_figure(differences: pd.DataFrame) -> Figure:
  """Draws differences of one arm against the learning rate: a column per measure.

  Settings are named 'NAME at RATE'; a line is all settings of a name. The lower row is the accuracy
  of the baseline, in percent.
  """
  named = differences['setting'].str.extract(r'(?P<name>.*) at (?P<at>.*)').astype({'at': float})
  rows = differences.join(named).assign(percent=100 * differences['baseline_accuracy'])
  names, measures, rates = (_distinct(rows, column) for column in ('name', 'measure', 'at'))
  figure = Figure(figsize=(WIDTH, 4.2), layout='constrained')
  shape: dict[str, Any] = {'sharex': True, 'sharey': 'row', 'squeeze': False}
  for upper, lower, measure in zip(
    *figure.subplots(2, len(measures), **shape), measures, strict=True
  ):
    of_measure = rows[rows['measure'] == measure]
    _lines(upper, of_measure, names, of='name', x='at')
    upper.set_title(measure, size='medium')
    for name, of_name in of_measure.groupby('name', sort=False):
      lower.plot(of_name['at'], of_name['percent'], **look(names.index(name)) | SMALL)
    lower.grid(axis='y', alpha=0.3)
    lower.set_xlabel('learning rate')
    if len(rates) <= FEW:  # within a decade the axis would name every tick between them
      lower.minorticks_off()
      lower.set_xticks(sorted(rates), [f'{rate:g}' for rate in sorted(rates)])
  figure.axes[0].set_ylabel(POINTS)
  figure.axes[len(measures)].set_ylabel('baseline (%)')
  write_legend(figure, None, _handles(names))
  return figure


def forest_figure(differences: pd.DataFrame) -> Figure:
  """Draws differences of one arm: a panel per setting, in it a line per measure and budget.

  Filled marks are those whose interval excludes zero.
  """
  pairs = {(m, b) for m, b in zip(differences['measure'], differences['budget'], strict=True)}
  lines = sorted(pairs, key=lambda line: (line[0] == 'area', line[0] == 'final', *line))
  settings = _distinct(differences, 'setting')
  beside = min(BESIDE, len(settings))
  turns = -(-len(settings) // beside)
  figure = Figure(figsize=(WIDTH, turns * (LINE * len(lines) + 0.9)), layout='constrained')
  cells = figure.subplots(turns, beside, sharex=True, sharey=True, squeeze=False)
  for axes in cells.ravel()[len(settings) :]:
    axes.set_axis_off()
  for axes, setting in zip(cells.flat, settings, strict=False):
    rows = differences[differences['setting'] == setting]
    at = [lines.index(line) for line in zip(rows['measure'], rows['budget'], strict=True)]
    _forest(axes, rows, at)
    for k, (measure, _) in enumerate(lines):
      if k and measure != lines[k - 1][0]:
        axes.axhline(k - 0.5, color='0.8', linewidth=0.8)
    axes.set_title(_wrapped(setting, WIDTH / beside - 0.5), size='medium', parse_math=False)
    axes.tick_params(labelbottom=True)
  labels = [f'{measure}, {budget:,} steps' for measure, budget in lines]
  cells[0, 0].set_yticks(range(len(lines)), labels)
  cells[0, 0].set_ylim(len(lines) - 0.5, -0.5)
  figure.supxlabel(POINTS, size='medium')
  return figure


def mean_figure(means: pd.DataFrame) -> Figure:
  """Draws means over settings and budgets: a panel per measure, a line per `arm` and `against`.

  Filled marks are those whose interval excludes zero.
  """
  labels = means['arm'] + ' - ' + means['against']
  lines, measures = list(dict.fromkeys(labels)), _distinct(means, 'measure')
  figure = Figure(figsize=(WIDTH, LINE * len(lines) + 0.9), layout='constrained')
  (cells,) = figure.subplots(1, len(measures), sharex=True, sharey=True, squeeze=False)
  for axes, measure in zip(cells, measures, strict=True):
    of_measure = means['measure'] == measure
    _forest(axes, means[of_measure], [lines.index(label) for label in labels[of_measure]])
    axes.set_title(measure, size='medium')
  cells[0].set_yticks(range(len(lines)), lines, parse_math=False)
  cells[0].set_ylim(len(lines) - 0.5, -0.5)
  figure.supxlabel(POINTS, size='medium')
  return figure


def _lines(
  axes: Axes, rows: pd.DataFrame, names: Sequence[str], of: str = 'arm', x: str = 'budget'
) -> None:
  """Draws a line per name in the column `of`, each a little beside the one before it."""
  axes.axhline(0, color='black', linewidth=1)
  axes.set_xscale('log')
  axes.grid(axis='y', alpha=0.3)
  for name, of_name in rows.groupby(of, sort=False):
    k = names.index(name)
    shift = ROOM * ((k + 0.5) / len(names) - 0.5)
    where = of_name[x].to_numpy() * np.exp(shift)
    style = look(k) | SMALL | {'elinewidth': 1.0}
    axes.errorbar(where, of_name['difference'].to_numpy(), _reach(of_name), **style)


def _handles(names: Sequence[str]) -> list[Line2D]:
  return [Line2D([], [], **look(k), label=name) for k, name in enumerate(names)]


def _forest(axes: Axes, rows: pd.DataFrame, at: Sequence[int]) -> None:
  axes.axvline(0, color='black', linewidth=1)
  axes.grid(axis='x', alpha=0.3)
  sure = ((rows['low'] > 0) | (rows['high'] < 0)).to_numpy()
  style: dict[str, Any] = {'color': COLOURS[0], 'linestyle': 'none'}
  x, y = rows['difference'].to_numpy(), np.array(at)
  axes.errorbar(x, y, xerr=_reach(rows), **style, elinewidth=1.6)
  for chosen, face in ((sure, COLOURS[0]), (~sure, 'white')):
    axes.plot(x[chosen], y[chosen], **style, marker='o', markersize=5, markerfacecolor=face)


def _reach(rows: pd.DataFrame) -> np.ndarray:
  """Returns how far the interval reaches below and above, [2, rows]; NaN draws none."""
  below, above = rows['difference'] - rows['low'], rows['high'] - rows['difference']
  return np.stack([below, above])


def _thousands(steps: int) -> str:
  """Returns 300 as it is and 1,000 as '1k': panels are narrow."""
  return f'{steps}' if steps < 1000 else f'{steps / 1000:g}k'


def _distinct(rows: pd.DataFrame, column: str) -> list:
  return rows[column].drop_duplicates().tolist()


def _wrapped(text: str, inches: float) -> str:
  return textwrap.fill(text, int(LETTERS * inches), break_on_hyphens=False)
