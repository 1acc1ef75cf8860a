"""Contact sheets: examples of each class by difficulty, and of each exit by confidence."""

from collections.abc import Sequence
import io
import os
from typing import NamedTuple

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
import numpy as np

from mecl_jax.report.rows import Rows, texts, values
from mecl_jax.report.style import COLOURS, DPI, evenly, save, shorten
from mecl_jax.report.tables.examples import SIDES

MOST_CLASSES = 20
FRAMED = COLOURS[1]
TILE, LARGEST_TILE = 64, 96  # pixels per side: small images are enlarged to about, large shrunk to
GUTTER, FRAME = 12, 5  # pixels between images, and thickness of a frame, which lies in the gutter
TITLES = ('highest confidence', 'lowest confidence')  # of `SIDES`
EDGE = np.array((190, 190, 190))  # RGB, of the thin edge of an image without a frame


class _Frames(NamedTuple):
  """Which images have a frame, bool [N], and what the frame means."""

  around: np.ndarray
  meaning: str


def draw_contact_sheet(
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
    images: uint8 [N, H, W, C].
    labels: int [N].
    class_names: by label. Of more than 20 classes, 20 at even distances are drawn.
    score: float [N], larger is harder.
    path: of the picture.
    flipped: bool [N], True where the label was changed; these get a frame.
    columns: examples in each half of a row; fewer where a class has fewer than twice as many.
  """
  present = np.unique(labels)
  chosen = evenly(present, MOST_CLASSES)
  grid = pick(score, labels, chosen, columns)
  count = f'{len(chosen)} of {len(present)}' if len(chosen) < len(present) else f'{len(chosen)}'
  classes = 'classes' if len(present) > 1 else 'class'
  title = f'{count} {classes}: the easiest and the hardest examples of each'
  names = [str(class_names[c]) for c in chosen]
  frames = None if flipped is None else _Frames(flipped, 'wrong label')
  save(_draw(images, grid, names, title, ('easiest', 'hardest'), frames), path)


def exit_sheet(
  examples: Rows, images: np.ndarray, ids: np.ndarray, meaning: str = 'wrong prediction'
) -> bytes:
  """Draws images that leave at each exit, a row per exit, as a PNG.

  The images with the highest confidence are on the left, those with the lowest on the right.

  Args:
    examples: the table of that name; see `examples_rows`. Wrong predictions get a frame.
    images: uint8 [N, H, W, C].
    ids: [N], of the images; the table names them as text.
    meaning: of a frame.

  Returns:
    the bytes of a PNG.

  Raises:
    ValueError: an image of the table is not among `ids`.
  """
  place = {str(name): k for k, name in enumerate(ids)}
  missing = [name for name in texts(examples, 'id') if name not in place]
  if missing:
    raise ValueError(f'image {missing[0]} of the table of examples is not among the images')
  names = list(dict.fromkeys(texts(examples, 'exit')))
  ranks = values(examples, 'rank').astype(int)
  grid = np.full((len(names), 2, ranks.max() + 1), -1)
  for k, (row, rank) in enumerate(zip(examples, ranks, strict=True)):
    side = SIDES.index(str(row['side']))
    grid[names.index(str(row['exit'])), side, -1 - rank if side else rank] = k
  shown = images[[place[name] for name in texts(examples, 'id')]]
  wrong = np.array([not row['right'] for row in examples])
  frames = _Frames(wrong, meaning)
  file = io.BytesIO()
  figure = _draw(shown, grid, names, 'Images that leave at each exit', TITLES, frames)
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
  """Draws images in whole pixels, so that they are not resampled.

  Args:
    images: uint8 [N, H, W, C].
    grid: int [rows, 2, columns], the image at each place of either half; -1 for none.
    names: of the rows.
    title: of the figure.
    ends: headings of the left and of the right end.
    frames: None if no image can have a frame.
  """
  framed = None if frames is None else frames.around
  channels = images.shape[-1]
  if channels not in (1, 3):
    drawn = 'channel 1 in grey' if channels == 2 else 'channels 1 to 3 as red, green, blue'
    title = f'{title} ({drawn}, of {channels})'
  first, last = (mosaic(images, grid[:, side], framed) for side in (0, 1))
  gap = np.full((len(first), 4 * GUTTER, 3), 255, np.uint8)
  sheet = np.concatenate((first, gap, last), axis=1)
  names = [shorten(name) for name in names]
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


def pick(score: np.ndarray, labels: np.ndarray, classes: np.ndarray, columns: int) -> np.ndarray:
  """Picks the easiest and the hardest examples of each class, none twice.

  Equal scores keep the order of the examples.

  Args:
    score: float [N], larger is harder.
    labels: int [N].
    classes: int [R], labels that occur.
    columns: examples in each half; fewer if a class has fewer than twice as many.

  Returns:
    indices of examples, int [R, 2, columns], from easier to harder. The easy half is filled from
    the left, the hard half from the right; -1 where there is no example.
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
  """Joins images into one; small images are enlarged without blur, large ones are shrunk.

  Args:
    images: uint8 [N, H, W, C].
    grid: int [R, K], the image at each place, -1 for none.
    framed: bool [N], True for images with a frame.

  Returns:
    uint8 [R * tile height, K * tile width, 3], on white; a tile is an image with half a gutter
    on each side.
  """
  height, width = (side + GUTTER for side in _resize(images[0]).shape[:2])
  sheet = np.full((grid.shape[0] * height, grid.shape[1] * width, 3), 255, np.uint8)
  for r, k in np.argwhere(grid >= 0):
    tile = sheet[r * height : (r + 1) * height, k * width : (k + 1) * width]
    # Every image has a thin edge, because white images would run into the paper.
    frame = framed is not None and framed[grid[r, k]]
    thickness, colour = (FRAME, np.multiply(to_rgb(FRAMED), 255).round()) if frame else (1, EDGE)
    outer, inner = GUTTER // 2 - thickness, GUTTER // 2
    tile[outer:-outer, outer:-outer] = colour
    tile[inner:-inner, inner:-inner] = _resize(images[grid[r, k]])
  return sheet


def _resize(image: np.ndarray) -> np.ndarray:
  """Enlarges [H, W, C] by a whole number, or shrinks it by averaging blocks; returns RGB.

  Of 4 channels or more, the first 3 are red, green and blue; of 2, the first is grey.
  """
  image = image[..., : 3 if image.shape[-1] >= 3 else 1]
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
