"""The picture of the accuracy of every exit against its MACs."""

from collections.abc import Mapping
import math
import os
from typing import Any

from matplotlib.figure import Figure

from mecl_jax.report.cells import curriculum_name
from mecl_jax.report.style import COLOURS, save


def draw_exit_curve(summary: Mapping[str, Any], path: str | os.PathLike) -> None:
  """Draws test accuracy with its 95 % interval against the MACs up to each exit, as PNG and SVG.

  Args:
    summary: of a run, as in summary.json.
    path: of the picture.
  """
  figure = Figure(figsize=(6, 4), layout='constrained')
  axes = figure.subplots()
  macs = [row['macs'] / 1e6 for row in summary['exits']]
  accuracy = [100 * row['accuracy'] for row in summary['exits']]
  below = [100 * (row['accuracy'] - row['accuracy_low']) for row in summary['exits']]
  above = [100 * (row['accuracy_high'] - row['accuracy']) for row in summary['exits']]
  axes.errorbar(macs, accuracy, (below, above), color=COLOURS[0], marker='o', capsize=3)
  before = -math.inf
  for row, x, y in zip(summary['exits'], macs, accuracy, strict=True):
    # Beside the line: it comes from below if the accuracy has risen, else from above.
    place: dict[str, Any] = {'xytext': (-6, 5 if y > before else -13), 'ha': 'right'}
    axes.annotate(f'{row["name"]} {y:.1f}', (x, y), textcoords='offset points', **place)
    before = y
  axes.margins(x=0.3, y=0.15)
  axes.grid(alpha=0.3)
  axes.set(
    xlabel='million multiply-accumulates (MACs) up to the exit, per image',
    ylabel='test accuracy (%)',
  )
  curriculum = summary['curriculum']
  name = curriculum_name(
    *(curriculum[field] for field in ('order', 'sample_weights', 'contradicted'))
  )
  axes.set_title(f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}, {name}')
  save(figure, path)
