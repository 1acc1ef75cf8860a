"""A picture of a multi-exit network: the backbone as a chain of blocks, the exits as branches."""

from collections.abc import Sequence
import dataclasses
import itertools
import math
import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
import numpy as np

from mecl_jax.models.macs import ExitCost, StageCost, quantity
from mecl_jax.report.pictures.curriculum import SHADES
from mecl_jax.report.pictures.plots import COLOURS, DPI, save

BRANCH = COLOURS[1]
CAPTION = (
  'MACs: multiply-accumulates per image, up to the exit and with its head; below them the head'
  ' alone, orange in the bar.\n%: of the MACs of the last exit. Params: trainable ones, up to the'
  ' exit and with its head.\nBlocks: wider for more MACs, higher for larger feature maps (square'
  ' root of the side), darker for more channels (ch).'
)

# Lengths are inches, which are also the units of the axes; font sizes are points.
WIDTH = 8.0  # of the picture, unless its labels need more
MARGIN = 0.15
LEFT = 0.7  # where the chain begins, after the word `image`
FONT = 8.0
TITLE = 1.25 * FONT
LINE = 0.155  # from one line of text to the next
CHAIN = 1.1  # height of the largest feature map
THIN = 0.05  # least width of a block, so that one without MACs can be seen
AROUND = 0.08  # from the chain to the brackets above and the fan below
FAN = 0.5  # height in which the branches spread to their boxes
PAD = 0.07  # inside a box
GAP = 0.12  # between boxes, and between labels
BOX = 5 * LINE + 2 * PAD  # height of a box: four lines of text and a bar
Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class _Group:
  """Neighbouring stages that share what comes before the last underscore of their names.

  Attributes:
    label: what is written above them.
    width: of the label, in inches.
    start, stop: indices of the first stage, and of the one after the last.
  """

  label: str
  width: float
  start: int
  stop: int


@dataclasses.dataclass(frozen=True)
class _Layout:
  """Where things are, in inches.

  Attributes:
    width, height: of the picture.
    box: width of every box.
    rows: of boxes, 1 or 2.
    step: from the centre of a box to the next one's, of either row, at least.
    floor: top of the upper row.
    middle: height at which the chain runs.
  """

  width: float
  height: float
  box: float
  rows: int
  step: float
  floor: float
  middle: float


def draw_network(
  path: str | os.PathLike, title: str, stages: Sequence[StageCost], exits: Sequence[ExitCost]
) -> None:
  """Draws a network from the image on the left to the last exit on the right, as a PNG.

  The picture is 8 inches wide, more where the labels need it.

  Args:
    path: of the picture.
    title: one line above it.
    stages: of the backbone, first to last.
    exits: earliest first; the last is the one that the others are compared with.

  Raises:
    ValueError: an exit sits at no stage.
  """
  names = [stage.name for stage in stages]
  after = [names.index(cost.stage) + 1 for cost in exits]
  groups = _groups(stages)
  layout = _layout(title, groups, exits)
  figure = Figure(figsize=(layout.width, layout.height))
  axes = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(0, layout.height))
  axes.set_axis_off()
  top: dict[str, Any] = {'va': 'top', 'parse_math': False}
  axes.text(MARGIN, layout.height - MARGIN, title, size=TITLE, weight='bold', **top)
  axes.text(MARGIN, MARGIN, CAPTION, size=FONT, color='0.3', linespacing=1.3)
  edges = _edges(stages, LEFT, layout.width - MARGIN - 0.05)
  _draw_groups(axes, groups, edges, layout)
  _draw_chain(axes, stages, edges, layout.middle)
  _draw_exits(axes, exits, edges[after], layout)
  save(figure, path)


def _layout(title: str, groups: Sequence[_Group], exits: Sequence[ExitCost]) -> _Layout:
  facts = [_facts(cost) for cost in exits]
  box = 2 * PAD + max(
    *(_text_width(name, bold=True) for name, *_ in facts),
    *(_text_width(line) for _, *lines in facts for line in lines),
  )
  inner = WIDTH - 2 * MARGIN
  # Boxes that do not fit beside each other alternate between two rows; the branch to a lower box
  # then passes between two upper ones.
  rows = 1 if len(exits) * (box + GAP) - GAP <= inner else 2
  step = (box + GAP) / rows
  inner = max(
    inner,
    box + step * (len(exits) - 1),
    sum(group.width + GAP for group in groups) - GAP,
    _text_width(title, bold=True, size=TITLE),
  )
  floor = 2 * MARGIN + len(CAPTION.splitlines()) * LINE + rows * (BOX + GAP) - GAP
  middle = floor + FAN + CHAIN / 2
  height = middle + CHAIN / 2 + 0.32 + 3 * LINE + 0.4
  return _Layout(inner + 2 * MARGIN, height, box, rows, step, floor, middle)


def spread(targets: np.ndarray, distances: np.ndarray, low: float, high: float) -> np.ndarray:
  """Moves points apart, as little as possible in squares.

  Args:
    targets: float [K], where the points would like to be, ascending.
    distances: float [K - 1], least ones between neighbours.
    low, high: bounds of all points, far enough from each other.

  Returns:
    float [K], in the same order.
  """
  offsets = np.concatenate(([0], np.cumsum(distances)))
  wanted = targets - offsets
  count = len(wanted)
  # The closest ascending values (isotonic regression), by their minimax formula.
  mean = [[wanted[i : j + 1].mean() for j in range(i, count)] for i in range(count)]
  ascending = [max(min(mean[i][k - i :]) for i in range(k + 1)) for k in range(count)]
  return np.clip(ascending, low, high - offsets[-1]) + offsets


def _facts(cost: ExitCost) -> tuple[str, ...]:
  return (
    cost.name,
    f'{quantity(cost.macs)} MACs',
    f'{cost.head} head: {quantity(cost.head_macs)}',
    f'{quantity(cost.parameters)} params',
  )


def _groups(stages: Sequence[StageCost]) -> list[_Group]:
  groups, start = [], 0
  for name, members in itertools.groupby(
    stages, key=lambda stage: stage.name.rpartition('_')[0] or stage.name
  ):
    shapes = [stage.shape for stage in members]
    rows, columns, last = shapes[-1]
    first = shapes[0][2]
    channels = f'{last}' if first == last else f'{first}–{last}'
    label = f'{name}\n{rows}×{columns}\n{channels} ch'
    width = max(map(_text_width, label.split('\n')))
    groups.append(_Group(label, width, start, start + len(shapes)))
    start += len(shapes)
  return groups


def _text_width(text: str, bold: bool = False, size: float = FONT) -> float:
  font = FontProperties(weight='bold' if bold else 'normal', size=size)
  return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72


def _edges(stages: Sequence[StageCost], left: float, right: float) -> np.ndarray:
  """Borders of the blocks, [stages + 1], as far apart as their MACs say but for a least width."""
  macs = np.array([stage.macs for stage in stages], float)
  room = right - left
  thin = min(THIN, room / len(macs) / 2)
  raised = macs == 0
  while True:  # what is raised leaves less to the others, of which some may then need it too
    share = macs * (room - thin * raised.sum()) / macs[~raised].sum()
    if not (share[~raised] < thin).any():
      break
    raised |= share < thin
  return left + np.concatenate(([0], np.cumsum(np.where(raised, thin, share))))


def _draw_groups(axes: Axes, groups: Sequence[_Group], edges: np.ndarray, layout: _Layout) -> None:
  """Brackets every group and writes its label above, as near as the others allow."""
  bracket = layout.middle + CHAIN / 2 + AROUND
  widths = np.array([group.width for group in groups])
  centres = np.array([(edges[group.start] + edges[group.stop]) / 2 for group in groups])
  low, high = MARGIN + widths[0] / 2, layout.width - MARGIN - widths[-1] / 2
  placed = spread(centres, (widths[1:] + widths[:-1]) / 2 + GAP, low, high)
  for k, (group, centre, x) in enumerate(zip(groups, centres, placed, strict=True)):
    start, stop = edges[group.start], edges[group.stop]
    if k % 2 == 0:
      size = (stop - start, CHAIN + 2 * AROUND)
      axes.add_patch(Rectangle((start, bracket - size[1]), *size, facecolor='0.95', zorder=0))
    inset = min(0.02, 0.2 * (stop - start))
    axes.plot((start + inset, stop - inset), (bracket, bracket), color='0.3', linewidth=1.5)
    foot, head = (centre, bracket), (x, bracket + 0.2)
    _line(axes, foot, foot, head, head, color='0.3', linewidth=0.8)
    style: dict[str, Any] = {'size': FONT, 'ha': 'center', 'va': 'bottom', 'parse_math': False}
    axes.text(x, bracket + 0.24, group.label, **style)


def _draw_chain(axes: Axes, stages: Sequence[StageCost], edges: np.ndarray, middle: float) -> None:
  """Draws a block per stage, and the way of the image into the first."""
  sides = np.array([math.sqrt(stage.shape[0] * stage.shape[1]) for stage in stages])
  heights = CHAIN * np.sqrt(sides / sides.max())
  channels = [stage.shape[2] for stage in stages]
  norm = LogNorm(min(channels), max(2 * min(channels), *channels))
  for k, height in enumerate(heights):
    width = edges[k + 1] - edges[k]
    gap = min(max(0.15 * width, 1.5 / DPI), 0.02)  # under a dot it would sometimes be rounded away
    corner = (edges[k], middle - height / 2)
    colour = SHADES(0.15 + 0.75 * norm(channels[k]))
    axes.add_patch(Rectangle(corner, width - gap, height, facecolor=colour, zorder=2))
  axes.annotate(
    'image',
    (edges[0] - 0.02, middle),
    xytext=(MARGIN, middle),
    size=FONT,
    va='center',
    arrowprops={'arrowstyle': '->', 'shrinkA': 1, 'shrinkB': 0},
  )


def _draw_exits(axes: Axes, exits: Sequence[ExitCost], leave: np.ndarray, layout: _Layout) -> None:
  """Draws the branches, which leave the chain at `leave` [exits], and their boxes."""
  half, steps = layout.box / 2, np.full(len(exits) - 1, layout.step)
  centres = spread(leave, steps, MARGIN + half, layout.width - MARGIN - half)
  for k, (cost, start, centre) in enumerate(zip(exits, leave, centres, strict=True)):
    lower = (len(exits) - 1 - k) % layout.rows
    top = layout.floor - lower * (BOX + GAP)
    bend = (start, layout.middle - CHAIN / 2 - AROUND)
    way = ((start, layout.middle), bend, (centre, layout.floor), (centre, top))
    for colour, extra in (('white', 1.5), (BRANCH, 0)):  # rimmed, to be seen on any shade
      axes.plot(start, layout.middle, 'o', color=colour, markersize=4 + extra, zorder=3)
      _line(axes, *way, color=colour, linewidth=1.5 + extra, zorder=3)
    _draw_box(axes, (centre - half, top - BOX), layout.box, cost, exits[-1].macs)


def _line(axes: Axes, start: Point, bend: Point, unbend: Point, end: Point, **style: Any) -> None:
  """Draws a line, vertical but for an S between `bend` and `unbend`.

  Lines whose four points keep to one order from left to right never cross.
  """
  half = (bend[1] + unbend[1]) / 2
  points = (start, bend, (bend[0], half), (unbend[0], half), unbend, end)
  codes = (Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO)
  axes.add_patch(PathPatch(Path(points, codes), fill=False, **style))


def _draw_box(
  axes: Axes,
  corner: tuple[float, float],
  width: float,
  cost: ExitCost,
  last: int,
) -> None:
  """Draws what is known of an exit, and a bar of its MACs against those of the last exit."""
  x, y = corner
  frame = FancyBboxPatch(corner, width, BOX, boxstyle='round,pad=0,rounding_size=0.05')
  frame.set(facecolor='white', edgecolor=BRANCH, linewidth=1.2, zorder=4)
  axes.add_patch(frame)
  for k, line in enumerate(_facts(cost)):
    top = y + BOX - PAD - k * LINE
    weight = 'bold' if k == 0 else 'normal'
    axes.text(x + PAD, top, line, size=FONT, weight=weight, va='top', parse_math=False, zorder=5)
  share = cost.macs / last
  percent = f'{100 * share:.0f} %'
  room = width - 2 * PAD - _text_width('100 %') - 0.05
  bar, head = room * min(1, share), room * min(1, share) * cost.head_macs / cost.macs
  bottom = y + PAD + 0.02
  for length, colour in ((room, '0.88'), (bar, BRANCH), (bar - head, '0.2')):
    axes.add_patch(Rectangle((x + PAD, bottom), length, 0.08, facecolor=colour, zorder=5))
  axes.text(x + width - PAD, bottom + 0.04, percent, size=FONT, ha='right', va='center', zorder=5)
