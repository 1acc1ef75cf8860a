"""What pictures share, and the picture of what an exit costs and is worth."""

from collections.abc import Mapping
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
  # The first versions had no weights.
  name = curriculum_name(curriculum['order'], curriculum.get('sample_weights', 'none'))
  axes.set_title(f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}, {name}')
  save(figure, path)


def curriculum_name(order: str, sample_weights: str) -> str:
  """What a curriculum is, in short, by `curriculum.order` and `curriculum.sample_weights`."""
  return ', '.join(part for part in (order, sample_weights) if part != 'none') or 'none'


def evenly(values: np.ndarray, most: int) -> np.ndarray:
  """Returns `values` [K], or `most` of them at even distances, the first and last among them."""
  if len(values) <= most:
    return values
  return values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def save(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure as a PNG of `DPI` dots an inch."""
  with atomic(path) as file:
    figure.savefig(file, format='png', dpi=DPI)
