"""The picture of the accuracy of every exit against its MACs."""

from collections.abc import Mapping
import math
import os
from typing import Any

from matplotlib.figure import Figure

from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS
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
  shown = TASKS[summary.get('task', CLASSIFICATION.name)].shown
  shown = shown._replace(units=summary.get('units', ''))
  low, accuracy, high = (
    [shown.factor * row[f'{shown.column}{end}'] for row in summary['exits']]
    for end in ('_low', '', '_high')
  )
  below = [value - end for value, end in zip(accuracy, low, strict=True)]
  above = [end - value for value, end in zip(accuracy, high, strict=True)]
  axes.errorbar(macs, accuracy, (below, above), color=COLOURS[0], marker='o', capsize=3)
  before = -math.inf
  for row, x, y in zip(summary['exits'], macs, accuracy, strict=True):
    # Beside the line: it comes from below if the accuracy has risen, else from above.
    place: dict[str, Any] = {'xytext': (-6, 5 if y > before else -13), 'ha': 'right'}
    text = f'{row["name"]} {y:.1f}' if shown.is_share else f'{row["name"]} {y:.3g}'
    axes.annotate(text, (x, y), textcoords='offset points', **place)
    before = y
  axes.margins(x=0.3, y=0.15)
  axes.grid(alpha=0.3)
  axes.set(
    xlabel='million multiply-accumulates (MACs) up to the exit, per image',
    ylabel=f'test {shown.axis}',
  )
  curriculum = summary['curriculum']
  name = curriculum_name(
    *(curriculum[field] for field in ('order', 'sample_weights', 'contradicted'))
  )
  axes.set_title(f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}, {name}')
  save(figure, path)
