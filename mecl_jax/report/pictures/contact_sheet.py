"""Contact sheets: the easiest and hardest of every class, the surest and least sure of exits."""

from collections.abc import Sequence
import io
import os
from typing import NamedTuple

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
import numpy as np

from mecl_jax.report.pages.page import Rows
from mecl_jax.report.pictures.plots import COLOURS, DPI, evenly, save
from mecl_jax.report.style import texts, values

MOST_CLASSES = 20
FRAMED = COLOURS[1]
SIDES = ('surest', 'least sure')  # of an exit
TILE, LARGEST_TILE = 64, 96  # pixels a side: aimed at, and the most before an image is shrunk
GUTTER, FRAME = 12, 5  # pixels between tiles, and the thickness of a frame within the gutter
EDGE = np.array((190, 190, 190))  # of an image without a frame


class _Frames(NamedTuple):
  """Which images get a frame, bool [N], and what it says of them."""

  around: np.ndarray
  meaning: str


def contact_sheet(
  images: np.ndarray,
  labels: np.ndarray,
  class_names: Sequence[str],
  score: np.ndarray,
  path: str | os.PathLike,
  *,
  flipped: np.ndarray | None = None,
  columns: int = 8,
) -> None:
  """Draws the easiest and the hardest examples of each class, a row per class, as a PNG.

  Args:
    images: uint8 [N, H, W, C], C is 1 or 3.
    labels: int [N], the class whose row an example belongs to.
    class_names: of every label; at most 20 classes, evenly chosen, are drawn.
    score: float [N], larger is harder.
    path: of the picture.
    flipped: bool [N], whose label is wrong by label noise: these get a frame.
    columns: examples in each half of a row; fewer where a class has less than two halves.
  """
  present = np.unique(labels)
  chosen = evenly(present, MOST_CLASSES)
  grid = layout(score, labels, chosen, columns)
  count = f'{len(chosen)} of {len(present)}' if len(chosen) < len(present) else f'{len(chosen)}'
  classes = 'classes' if len(present) > 1 else 'class'
  title = f'{count} {classes}: the easiest and the hardest examples of each'
  names = [str(class_names[c]) for c in chosen]
  frames = None if flipped is None else _Frames(flipped, 'label flipped by label noise')
  save(_draw(images, grid, names, title, ('easiest', 'hardest'), frames), path)


def exit_sheet(examples: Rows, images: np.ndarray, ids: np.ndarray) -> bytes:
  """Draws the images that leave at each exit, a row per exit: the surest, then the least sure.

  Args:
    examples: the table of that name; ranks of a side count from 0, the surest of all or the least
      sure of all. Wrong answers get a frame.
    images: uint8 [N, H, W, C], C is 1 or 3.
    ids: [N], of the images; those of the table are among them, as text.

  Returns:
    a PNG.

  Raises:
    ValueError: an image of the table is not there.
  """
  place = {str(name): k for k, name in enumerate(ids)}
  missing = [name for name in texts(examples, 'id') if name not in place]
  if missing:
    raise ValueError(f'there is no image {missing[0]}')
  names = list(dict.fromkeys(texts(examples, 'exit')))
  ranks = values(examples, 'rank').astype(int)
  grid = np.full((len(names), 2, ranks.max() + 1), -1)
  for k, (row, rank) in enumerate(zip(examples, ranks, strict=True)):
    side = SIDES.index(str(row['side']))
    grid[names.index(str(row['exit'])), side, -1 - rank if side else rank] = k
  shown = images[[place[name] for name in texts(examples, 'id')]]
  wrong = np.array([not row['right'] for row in examples])
  frames = _Frames(wrong, 'wrong answer')
  file = io.BytesIO()
  figure = _draw(shown, grid, names, 'The images that leave at each exit', SIDES, frames)
  figure.savefig(file, format='png', dpi=DPI)
  return file.getvalue()


def _draw(
  images: np.ndarray,
  grid: np.ndarray,
  names: Sequence[str],
  title: str,
  ends: tuple[str, str],
  frames: _Frames | None,
) -> Figure:
  """Lays the images out in whole pixels, so that a pixel of the sheet is one of the picture.

  Args:
    images: uint8 [N, H, W, C].
    grid: int [rows, 2, columns], which image goes where in either half; -1 for none.
    names: of the rows.
    title: above all.
    ends: what stands over the left end and over the right one.
    frames: None where nothing is to be said by them.
  """
  framed = None if frames is None else frames.around
  first, last = (mosaic(images, grid[:, side], framed) for side in (0, 1))
  gap = np.full((len(first), 4 * GUTTER, 3), 255, np.uint8)
  sheet = np.concatenate((first, gap, last), axis=1)
  names = [n if len(n) <= 24 else f'{n[:23]}…' for n in names]
  left = 24 + int(max(_text_width(n, 10) for n in names))
  right, top, bottom = 12, 76, 12 if frames is None else 52
  height = sheet.shape[0] + top + bottom
  width = max(left + sheet.shape[1] + right, 24 + int(_text_width(title, 11)))
  figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
  axes = figure.add_axes(
    (left / width, bottom / height, sheet.shape[1] / width, sheet.shape[0] / height)
  )
  axes.imshow(sheet, interpolation='nearest', aspect='auto')
  axes.set_axis_off()

  def write(x: float, y: float, text: str, **style) -> None:
    figure.text(x / width, 1 - y / height, text, parse_math=False, **style)

  write(12, 8, title, va='top', size=11)
  head = {'va': 'bottom', 'size': 10, 'weight': 'bold'}
  write(left + GUTTER / 2, top - 4, ends[0], **head)
  write(left + sheet.shape[1] - GUTTER / 2, top - 4, ends[1], ha='right', **head)
  row = sheet.shape[0] / len(names)
  for k, name in enumerate(names):
    write(left - 8, top + (k + 0.5) * row, name, va='center', ha='right', size=10)
  if frames is not None:
    shown = grid[grid >= 0]
    x, y, side = left + GUTTER / 2, bottom - 38, 22
    box = Rectangle((x / width, y / height), side / width, side / height, fill=False)
    box.set(edgecolor=FRAMED, linewidth=FRAME * 72 / DPI)
    figure.add_artist(box)
    caption = f'{frames.meaning}: {int(frames.around[shown].sum())} of {len(shown)} shown'
    write(x + side + 12, height - y - side / 2, caption, va='center', size=10)
  return figure


def layout(score: np.ndarray, labels: np.ndarray, classes: np.ndarray, columns: int) -> np.ndarray:
  """Picks the easiest and the hardest examples of each class, none twice, ties by position.

  Args:
    score: float [N], larger is harder.
    labels: int [N].
    classes: int [R], labels that occur.
    columns: how many to pick for each half, of a class with at least twice as many.

  Returns:
    Positions, int [R, 2, columns], from easier to harder: the easy half begins at the left, the
    hard half ends at the right, and -1 stands where an example is wanting.
  """
  grid = np.full((len(classes), 2, columns), -1)
  for row, label in zip(grid, classes, strict=True):
    members = np.flatnonzero(labels == label)
    order = members[np.argsort(score[members], kind='stable')]
    easy, hard = min(columns, (len(order) + 1) // 2), min(columns, len(order) // 2)
    row[0, :easy] = order[:easy]
    row[1, columns - hard :] = order[len(order) - hard :]
  return grid


def mosaic(images: np.ndarray, grid: np.ndarray, framed: np.ndarray | None = None) -> np.ndarray:
  """Pastes images into one: small ones magnified without blur, large ones shrunk.

  Args:
    images: uint8 [N, H, W, C], C is 1 or 3.
    grid: int [R, K], which image goes where, -1 for none.
    framed: bool [N], which images get a frame.

  Returns:
    uint8 [R * tile height, K * tile width, 3], on white; a tile has half a gutter all round.
  """
  height, width = (side + GUTTER for side in _resize(images[0]).shape[:2])
  sheet = np.full((grid.shape[0] * height, grid.shape[1] * width, 3), 255, np.uint8)
  for r, k in np.argwhere(grid >= 0):
    tile = sheet[r * height : (r + 1) * height, k * width : (k + 1) * width]
    # Every image has a thin edge, as white ones would run into the paper.
    frame = framed is not None and framed[grid[r, k]]
    thickness, colour = (FRAME, np.multiply(to_rgb(FRAMED), 255).round()) if frame else (1, EDGE)
    outer, inner = GUTTER // 2 - thickness, GUTTER // 2
    tile[outer:-outer, outer:-outer] = colour
    tile[inner:-inner, inner:-inner] = _resize(images[grid[r, k]])
  return sheet


def _resize(image: np.ndarray) -> np.ndarray:
  """Magnifies [H, W, C] by a whole number, or shrinks it by the mean of blocks, to RGB."""
  height, width, channels = image.shape
  block = -(-max(height, width) // LARGEST_TILE)
  if block > 1:
    image = np.pad(image, ((0, -height % block), (0, -width % block), (0, 0)), mode='edge')
    blocks = image.reshape(len(image) // block, block, -1, block, channels)
    image = blocks.mean((1, 3)).round().astype(np.uint8)
  else:
    factor = max(1, round(TILE / max(height, width)))
    image = image.repeat(factor, 0).repeat(factor, 1)
  return np.broadcast_to(image, (*image.shape[:2], 3))


def _text_width(text: str, size: float) -> float:
  """Returns the width in pixels of a text of `size` points."""
  return TextPath((0, 0), f'.{text}.'.replace('$', 'S'), size=size).get_extents().width * DPI / 72
