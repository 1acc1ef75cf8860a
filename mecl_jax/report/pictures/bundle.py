"""The picture of a bundle: its models as a chain, with the exit that answers after each."""

from collections.abc import Mapping, Sequence
import math
import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
import numpy as np

from mecl_jax.models.macs import quantity
from mecl_jax.report.cells import plain
from mecl_jax.report.style import COLOURS, save_png

WIDTH, HEIGHT = 1.9, 2.5  # inches: from a model to the next; of a row of models
ROW, LEAST = 4, 2.5  # most models in a row; least width of the picture, for its title
BOX, TOP = 1.05, 1.65  # inches: width of a model; height of its middle above the row's lower end
SMALL, MEDIUM = 7.5, 8.5  # sizes of the text, points


def draw_bundle(path: str | os.PathLike, fields: Mapping[str, Any], sizes: Sequence[int]) -> None:
  """Draws the models of a bundle and what goes from each to the next, as a PNG.

  Args:
    path: of the picture.
    fields: of bundle.json, of which `files` is not needed.
    sizes: of the ONNX models, in bytes.
  """
  exits, point = fields['exits'], fields['default_policy']
  policy = fields['policies'][point]
  columns, rows = min(ROW, len(exits)), math.ceil(len(exits) / ROW)
  width, height = WIDTH * max(columns + 0.75, LEAST), HEIGHT * rows + 0.35
  figure = Figure(figsize=(width, height))
  axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
  axes.set_axis_off()
  run = fields['run']
  title = f'{run["backbone"]} for {run["dataset"]}, {fields["precision"]}'
  axes.text(0.15, height - 0.25, title, fontsize=10, weight='bold')
  given = (
    f'image\n{_shape(fields["image_shape"])} uint8\n{_bytes(math.prod(fields["image_shape"]))}'
  )
  for number, (each, size) in enumerate(zip(exits, sizes, strict=True)):
    row, column = divmod(number, ROW)
    x, y = WIDTH * (column + 1), HEIGHT * (rows - 1 - row) + TOP
    _arrow(axes, (x - WIDTH + BOX / 2 if column or row else 0.15, y), (x - BOX / 2, y))
    axes.text(x - WIDTH / 2 - 0.02, y + 0.07, given, ha='center', va='bottom', fontsize=SMALL)
    _box(axes, x, y, f'segment {number + 1}\n{_bytes(size)}\n{quantity(each["segment_macs"])} MACs')
    _arrow(axes, (x, y - 0.36), (x, y - 0.82), COLOURS[1])
    share = 100 * policy['test']['share'][number]
    text = f'exit {each["name"]}\n{100 * each["test_accuracy"]:.1f} % right\n'
    text += f'{point}: {share:.0f} % of images'
    axes.text(x, y - 0.9, text, ha='center', va='top', fontsize=MEDIUM)
    given = '\n'.join(map(_feature, each['features'][:2]))
    given += f'\n+ {len(each["features"]) - 2} more' if len(each['features']) > 2 else ''
  notes = 'Accuracies are of all test images at this exit; shares are of the test images.'
  axes.text(0.15, 0.12, notes, fontsize=SMALL, color='0.35')
  save_png(figure, path)


def _box(axes: Axes, x: float, y: float, text: str) -> None:
  corner, style = (x - BOX / 2 + 0.06, y - 0.3), 'round,pad=0.06'
  patch = FancyBboxPatch(corner, BOX - 0.12, 0.6, style, facecolor='#DCEBF5', edgecolor=COLOURS[0])
  axes.add_patch(patch)
  axes.text(x, y, text, ha='center', va='center', fontsize=MEDIUM)


def _arrow(axes: Axes, start: tuple, end: tuple, colour: str = '0.3') -> None:
  axes.annotate('', end, start, arrowprops={'arrowstyle': '-|>', 'color': colour})


def _feature(feature: Mapping[str, Any]) -> str:
  """Returns shape, type and size of a feature map."""
  size = np.dtype(feature['dtype']).itemsize * math.prod(feature['shape'])
  return f'{_shape(feature["shape"])}\n{feature["dtype"]}\n{_bytes(size)}'


def _shape(shape: Sequence[int]) -> str:
  return '×'.join(map(str, shape))


def _bytes(size: int) -> str:
  return f'{plain(size)} B' if size < 1000 else f'{plain(round(size / 1000))} kB'
