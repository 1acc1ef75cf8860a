"""Pictures of a run: what an exit costs and is worth, and how training went."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from mecl_jax.files import atomic

# Okabe and Ito's colours: distinct in print and to the colour-blind.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
MARKERS = 'osD^vP*'
DPI = 150


def exit_curve(summary: Mapping[str, Any], path: str | os.PathLike) -> None:
  """Draws test accuracy against cumulative MACs, a point per exit, as a PNG."""
  figure = Figure(figsize=(6, 4), layout='constrained')
  axes = figure.subplots()
  macs = [row['macs'] / 1e6 for row in summary['exits']]
  accuracy = [100 * row['accuracy'] for row in summary['exits']]
  axes.plot(macs, accuracy, color=COLOURS[0], marker='o')
  for row, x, y in zip(summary['exits'], macs, accuracy, strict=True):
    label = f'{row["name"]} {y:.1f}'
    axes.annotate(label, (x, y), xytext=(-6, 4), textcoords='offset points', ha='right')
  axes.margins(x=0.3, y=0.15)
  axes.grid(alpha=0.3)
  axes.set(xlabel='million multiply-accumulates up to the exit', ylabel='test accuracy (%)')
  curriculum = summary['curriculum']
  axes.set_title(
    f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}, {curriculum["order"]}'
  )
  save(figure, path)


def training_curves(
  records: Sequence[Mapping[str, Any]], exits: Sequence[str], path: str | os.PathLike
) -> None:
  """Draws loss, validation accuracy per exit and visible share against the step, as a PNG.

  Args:
    records: the lines of metrics.jsonl.
    exits: names, earliest first.
    path: of the picture.
  """
  figure = Figure(figsize=(7, 8), layout='constrained')
  loss, accuracy, visible = figure.subplots(3, sharex=True)
  training = [r for r in records if 'loss' in r]
  validation = [r for r in records if 'validation' in r]
  for phase in dict.fromkeys(r['phase'] for r in training):
    mine = [r for r in training if r['phase'] == phase]
    steps = [r['step'] for r in mine]
    loss.plot(steps, [r['loss'] for r in mine], color=COLOURS[0], linewidth=1)
    shown = [100 * r['visible'] for r in mine]
    visible.plot(steps, shown, color=COLOURS[0], linewidth=1, drawstyle='steps-pre')
    at = {'xycoords': ('data', 'axes fraction'), 'textcoords': 'offset points'}
    loss.annotate(phase, (steps[0], 1), xytext=(0, 3), **at)
  for k, name in enumerate(exits):
    points = [
      (r['step'], 100 * r['validation'][name]) for r in validation if name in r['validation']
    ]
    if points:
      style = {'color': COLOURS[k % len(COLOURS)], 'marker': MARKERS[k % len(MARKERS)]}
      accuracy.plot(*zip(*points, strict=True), label=name, markersize=4, linewidth=1, **style)
  if validation:
    accuracy.legend(title='exit')
  loss.set(ylabel='training loss')
  accuracy.set(ylabel='validation accuracy (%)')
  visible.set(ylabel='visible share of\nthe training split (%)', xlabel='step', ylim=(0, 105))
  for axes in (loss, accuracy, visible):
    axes.grid(alpha=0.3)
  save(figure, path)


def evenly(values: np.ndarray, most: int) -> np.ndarray:
  """Returns `values` [K], or `most` of them at even distances, the first and last among them."""
  if len(values) <= most:
    return values
  return values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def save(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure as a PNG of `DPI` dots an inch."""
  with atomic(path) as file:
    figure.savefig(file, format='png', dpi=DPI)
