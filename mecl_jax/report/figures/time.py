"""Figures of time: latency per exit, time of early exit, accuracy under deadlines."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
import numpy as np

from mecl_jax.report import style
from mecl_jax.report.rows import Rows, groups, texts, values
from mecl_jax.report.style import COLOURS

BARS: tuple[tuple[str, str, dict[str, Any]], ...] = (
  ('static_ms', 'final exit only', {'facecolor': '0.75'}),
  ('allowed_ms', 'early exit, from stage times', {'facecolor': COLOURS[5], 'hatch': '//'}),
  ('dynamic_ms', 'early exit, measured', {'facecolor': COLOURS[0]}),
)
STAIRS = (('deepest', 'deepest exit in time'), ('best', 'most accurate exit in time'))


def deadlines(rows: Rows, exits: Rows) -> Figure:
  """Draws accuracy against the deadline, with the number of the exit that answers.

  Args:
    rows: the table `deadlines`.
    exits: the table `exits`; its order is the numbering.
  """
  x, names = values(rows, 'deadline_ms'), texts(exits, 'exit')
  figure, (axes,), _ = style.panels('deadlines', 1, 1, 3.2)
  answered = [row for row in rows if row['deepest_exit'] is not None]
  for k, (kind, label) in enumerate(STAIRS):
    y = 100 * values(rows, f'{kind}_accuracy')
    look: dict[str, Any] = {
      'color': COLOURS[k],
      'linestyle': style.LINES[k],
      'linewidth': 2.2 - 0.6 * k,
    }
    axes.plot(x, y, drawstyle='steps-post', label=label, **look)
    _number_steps(axes, answered, kind, names, above=kind == 'best', color=COLOURS[k])
  axes.set(xlabel='deadline (ms)', ylabel='test accuracy (%)')
  if answered:
    _look_closer(axes, answered, x.max())
  style.write_key(figure, names)
  style.write_legend(figure, None, axes.get_legend_handles_labels()[0])
  return figure


def _number_steps(
  axes: Axes, rows: Rows, kind: str, names: list[str], *, above: bool, color: str
) -> None:
  """Writes the number of an exit at its first deadline, above or below the line."""
  changes = [
    row
    for before, row in zip([None, *rows], rows, strict=False)
    if before is None or row[f'{kind}_exit'] != before[f'{kind}_exit']
  ]
  for k, row in enumerate(changes):
    at = (values([row], 'deadline_ms')[0], 100 * values([row], f'{kind}_accuracy')[0])
    # At two heights in turn, so that the numbers of close steps do not overlap.
    place = (5, (1 if above else -1) * (9 + 9 * (k % 2)))
    centre: dict[str, Any] = {'ha': 'center', 'va': 'center', 'size': 'small', 'color': color}
    number = names.index(str(row[f'{kind}_exit'])) + 1
    axes.annotate(str(number), at, xytext=place, textcoords='offset points', **centre)


def _look_closer(axes: Axes, answered: Rows, end: float) -> None:
  """Limits the axes to the deadlines that an exit meets, with a margin for shorter ones."""
  first = values(answered, 'deadline_ms')[0]
  accuracy = [100 * values(answered, f'{kind}_accuracy') for kind, _ in STAIRS]
  low, high = np.min(accuracy), np.max(accuracy)
  room = max(1.0, 0.3 * (high - low))
  left = first - 0.12 * max(end - first, 0.1 * first)
  axes.set(xlim=(left, end), ylim=(low - room, high + room))
  axes.axvspan(left, first, color='0.9', zorder=0)
  middle: dict[str, Any] = {'ha': 'center', 'va': 'center', 'rotation': 90, 'size': 'small'}
  axes.text((left + first) / 2, (low + high) / 2, 'no exit is in time', **middle)


def latency(rows: Rows) -> Figure:
  """Draws the time of the smallest batch up to each exit, and the throughput of all batch sizes.

  Args:
    rows: the table `latency`.
  """
  batches = groups(rows, 'batch')
  exits = list(dict.fromkeys(texts(rows, 'exit')))
  figure = style.new_figure('latency', 0.8 + 0.28 * len(exits))
  times, throughput = figure.subplots(1, 2, sharey=True)
  smallest = min(batches, key=lambda batch: float(batch[0]))
  place = {name: k for k, name in enumerate(exits)}
  first = batches[smallest]
  at = [place[name] for name in texts(first, 'exit')]
  p50, p99 = values(first, 'p50_ms'), values(first, 'p99_ms')
  times.hlines(at, p50, p99, color='0.6', linewidth=1.5)
  times.plot(p50, at, 'o', color=COLOURS[0], label='median')
  times.plot(p99, at, '|', color=COLOURS[1], markersize=10, markeredgewidth=2)
  times.set(xlabel=f'time of a batch of {smallest[0]} (ms)')
  times.set_xlim(0, 1.06 * p99.max())
  handles = [
    Line2D([], [], linestyle='', marker='o', color=COLOURS[0], label='median time'),
    Line2D([], [], linestyle='', marker='|', color=COLOURS[1], label='99th percentile'),
  ]
  for k, ((batch,), of_batch) in enumerate(batches.items()):
    at = [place[name] for name in texts(of_batch, 'exit')]
    look = style.look(k + 2) | {'linewidth': 1, 'markersize': 5}
    throughput.plot(values(of_batch, 'images_per_second'), at, **look)
    handles.append(Line2D([], [], label=f'batch of {batch}', **look))
  throughput.set(xscale='log', xlabel='images per second')
  throughput.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  throughput.xaxis.set_major_formatter('{x:,.0f}')
  throughput.xaxis.set_minor_locator(NullLocator())
  times.set_yticks(range(len(exits)), exits, size='small', parse_math=False)
  times.set_ylim(len(exits) - 0.5, -0.5)
  for axes in (times, throughput):
    axes.grid(alpha=0.3)
  style.write_legend(figure, None, handles)
  return figure


def savings(rows: Rows) -> Figure:
  """Draws the time of early exit in % of the time of the final exit, per batch size.

  Args:
    rows: the table `savings`.
  """
  figure, (axes,), _ = style.panels('savings', 1, 1, 3.2)
  at, width = np.arange(len(rows)), 0.26
  percent = [100 * values(rows, column) / values(rows, 'static_ms') for column, _, _ in BARS]
  for k, (heights, (_, label, look)) in enumerate(zip(percent, BARS, strict=True)):
    place = at + (k - 1) * width
    bars = axes.bar(place, heights, width, label=label, edgecolor='black', **look)
    axes.bar_label(bars, fmt='%.0f', size='small', padding=1)
  macs = 100 * (1 - values(rows, 'macs_saving'))
  ends = (at - 1.6 * width, at + 1.6 * width)
  axes.hlines(
    macs,
    *ends,
    color=COLOURS[1],
    linestyle='--',
    linewidth=2,
    label='early exit, from MACs',
  )
  axes.set_xticks(at, [f'batch of {batch}' for batch in texts(rows, 'batch')])
  axes.set(
    ylabel='time, relative to the final exit (%)', ylim=(0, 1.18 * max(100, np.max(percent)))
  )
  axes.grid(visible=False, axis='x')
  style.write_legend(figure, None, axes.get_legend_handles_labels()[0])
  return figure
