"""Figures of a comparison of runs, made from tables alone."""

from collections.abc import Sequence
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
import numpy as np

from mecl_jax.report.rows import Rows, columns_of, groups, texts, values
from mecl_jax.report.style import COLOURS, LINE, WIDTH, look, new_figure

METRICS = {'accuracy': ('accuracy (points)', 100), 'nll': ('NLL (nats)', 1)}
SPREAD = 0.8  # share of the width of an exit that its arms take
LETTERS = int(13 * WIDTH)  # that fit into a line, about


def accuracy_figure(runs: Rows, arms: Rows) -> Figure:
  """Draws the test accuracy of each exit: the mean over the seeds of an arm, and every seed."""
  columns, found = columns_of(runs, 'accuracy:'), groups(arms, 'arm')
  figure, axes = _figure('accuracy', 3.6, [arm for (arm,) in found], linestyle='none')
  shift = SPREAD / len(found)
  for k, ((arm,), of_arm) in enumerate(found.items()):
    style = look(k) | {'linestyle': 'none'}
    x = np.array([list(columns).index(name) for name in texts(of_arm, 'exit')], float)
    x += (k - (len(found) - 1) / 2) * shift
    axes.plot(x, 100 * values(of_arm, 'accuracy'), **style, markersize=6)
    seeds = [row for row in runs if row['arm'] == arm]
    if len(seeds) > 1:
      points = np.array([[row[columns[name]] for name in texts(of_arm, 'exit')] for row in seeds])
      beside = np.broadcast_to(x + min(0.3 * shift, 0.08), points.shape)
      dots: dict[str, Any] = {'color': style['color'], 'linestyle': 'none', 'marker': '.'}
      axes.plot(beside.ravel(), 100 * points.ravel().astype(float), **dots, markersize=4)
  axes.set_xticks(range(len(columns)), list(columns), parse_math=False)
  axes.set_xlim(-0.5, len(columns) - 0.5)
  if len(columns) > 6:
    axes.tick_params(axis='x', rotation=30)
  for border in range(1, len(columns)):
    axes.axvline(border - 0.5, color='0.8', linewidth=0.8)
  axes.grid(axis='y', alpha=0.3)
  axes.set(xlabel='exit', ylabel='test accuracy (%)')
  return figure


def difference_figure(differences: Rows) -> Figure:
  """Draws differences from the baseline with intervals: a line per exit, a panel per metric.

  Positive differences are better in accuracy and worse in NLL.
  """
  found = groups(differences, 'metric')
  heads, exits = _lines(next(iter(found.values())))
  lines = len(heads) + len(exits)
  figure = new_figure('differences', LINE * (lines + 1) + 0.7)
  panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
  for axes, ((metric,), rows) in zip(panels, found.items(), strict=True):
    label, unit = METRICS[metric]
    _forest(axes, rows, list(exits), unit)
    for at in heads:
      axes.axhspan(at - 0.5, at + 0.5, facecolor='0.92', zorder=1.5)  # above the line of zero
    axes.set_xlabel(f'difference in {label}')
  left = panels[0]
  style: dict[str, Any] = {'va': 'center', 'weight': 'bold', 'size': 8, 'parse_math': False}
  for at, text in heads.items():
    head = left.text(0.01, at, text, transform=left.get_yaxis_transform(), **style)
    head.set_in_layout(False)  # it may reach into the next panel
  left.set_zorder(1)
  left.set_facecolor('none')
  left.set_yticks(list(exits), list(exits.values()), parse_math=False)
  left.set_ylim(lines - 0.5, -0.5)
  return figure


def curve_figure(curves: Rows) -> Figure:
  """Draws test accuracy against mean MACs under budgeted batch classification, a line per run."""
  arms = groups(curves, 'arm')
  figure, axes = _figure('accuracy_against_macs', 4.0, [name for (name,) in arms])
  for k, rows in enumerate(arms.values()):
    for of_run in groups(rows, 'directory').values():
      macs, accuracy = values(of_run, 'test_macs') / 1e6, 100 * values(of_run, 'test_accuracy')
      axes.plot(macs, accuracy, **look(k), linewidth=1.2, markersize=4, markevery=(2 * k % 9, 9))
  macs = values(curves, 'test_macs')
  if macs.max() > 10 * macs.min():
    axes.set_xscale('log')
  axes.grid(alpha=0.3)
  axes.set(xlabel='mean million multiply-accumulates (MACs) per image', ylabel='test accuracy (%)')
  return figure


def _figure(name: str, height: float, arms: Sequence[str], **style: Any) -> tuple[Figure, Axes]:
  """Makes a figure of one panel, `height` inches high, with a legend of the arms below it."""
  labels = [textwrap.fill(arm, LETTERS, break_on_hyphens=False) for arm in arms]
  lines = sum(label.count('\n') + 1 for label in labels)
  figure = new_figure(name, height + 0.9 * LINE * lines)
  handles = [Line2D([], [], **(look(k) | style), label=label) for k, label in enumerate(labels)]
  legend = figure.legend(
    handles=handles, loc='outside lower left', frameon=False, fontsize='small', handlelength=3.5
  )
  for text in legend.get_texts():
    text.set_parse_math(False)
  return figure, figure.subplots()


def _lines(rows: Rows) -> tuple[dict[int, str], dict[int, str]]:
  """Returns the lines of a forest plot, by number from 0: headings of arms, and exits."""
  heads, exits = dict[int, str](), dict[int, str]()
  for (arm,), of_arm in groups(rows, 'arm').items():
    for part in textwrap.wrap(arm, LETTERS - 10, break_on_hyphens=False):
      heads[len(heads) + len(exits)] = part
    for name in texts(of_arm, 'exit'):
      exits[len(heads) + len(exits)] = name
  return heads, exits


def _forest(axes: Axes, rows: Rows, at: Sequence[int], unit: float) -> None:
  """Draws the rows at heights `at`; a mark is filled if its interval does not contain zero."""
  axes.axvline(0, color='black', linewidth=1, zorder=1)
  middle = unit * values(rows, 'difference')
  low, high = (unit * values(rows, f'difference_{end}') for end in ('low', 'high'))
  axes.hlines(at, low, high, color=COLOURS[0], linewidth=1.6, zorder=2)
  sure = (low > 0) | (high < 0)
  for chosen, face in ((sure, COLOURS[0]), (~sure, 'white')):
    style: dict[str, Any] = {'marker': 'o', 'color': COLOURS[0], 'markerfacecolor': face}
    axes.plot(middle[chosen], np.array(at)[chosen], linestyle='none', markersize=5, **style)
  axes.grid(axis='x', alpha=0.3)
  axes.set_axisbelow(True)
