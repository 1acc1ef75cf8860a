"""The picture of the accuracy of every exit against its MACs."""

from collections.abc import Mapping
import os
from typing import Any

from matplotlib.figure import Figure

from mecl_jax.report.cells import curriculum_name
from mecl_jax.report.style import COLOURS, save


def draw_exit_curve(summary: Mapping[str, Any], path: str | os.PathLike) -> None:
  """Draws test accuracy against the MACs up to each exit, as a PNG.

  Args:
    summary: of a run, as in summary.json.
    path: of the picture.
  """
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
  axes.set(
    xlabel='million multiply-accumulates (MACs) up to the exit, per image',
    ylabel='test accuracy (%)',
  )
  curriculum = summary['curriculum']
  name = curriculum_name(curriculum['order'], curriculum['sample_weights'])
  axes.set_title(f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}, {name}')
  save(figure, path)
