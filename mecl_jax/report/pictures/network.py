"""The picture of a multi-exit network: the backbone as a chain of blocks, exits as branches."""

from collections.abc import Sequence
import math
import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
import numpy as np

from mecl_jax.models.macs import ExitCost, StageCost
from mecl_jax.report.pictures.layout import (
  AROUND,
  BOX,
  CAPTION,
  CHAIN,
  FONT,
  GAP,
  LEFT,
  LINE,
  MARGIN,
  PAD,
  TITLE,
  Group,
  Layout,
  edges_of,
  facts,
  groups_of,
  layout_of,
  spread,
  text_width,
)
from mecl_jax.report.style import COLOURS, DPI, SHADES, save

BRANCH = COLOURS[1]
Point = tuple[float, float]


def draw_network(
  path: str | os.PathLike, title: str, stages: Sequence[StageCost], exits: Sequence[ExitCost]
) -> None:
  """Draws a network as a PNG, from the image on the left to the last exit on the right.

  The picture is 8 inches wide, or wider where the labels need more room.

  Args:
    path: of the picture.
    title: one line above the network.
    stages: of the backbone, first to last.
    exits: earliest first; shares of MACs are relative to the last.

  Raises:
    ValueError: the stage of an exit is not among `stages`.
  """
  names = [stage.name for stage in stages]
  after = [names.index(cost.stage) + 1 for cost in exits]
  groups = groups_of(stages)
  layout = layout_of(title, groups, exits)
  figure = Figure(figsize=(layout.width, layout.height))
  axes = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(0, layout.height))
  axes.set_axis_off()
  top: dict[str, Any] = {'va': 'top', 'parse_math': False}
  axes.text(MARGIN, layout.height - MARGIN, title, size=TITLE, weight='bold', **top)
  axes.text(MARGIN, MARGIN, CAPTION, size=FONT, color='0.3', linespacing=1.3)
  edges = edges_of(stages, LEFT, layout.width - MARGIN - 0.05)
  _draw_groups(axes, groups, edges, layout)
  _draw_chain(axes, stages, edges, layout.middle)
  _draw_exits(axes, exits, edges[after], layout)
  save(figure, path)


def _draw_groups(axes: Axes, groups: Sequence[Group], edges: np.ndarray, layout: Layout) -> None:
  """Draws a bracket over every group and its label above, as near as other labels allow."""
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
  """Draws a block per stage, and an arrow from the word `image` to the first."""
  sides = np.array([math.sqrt(stage.shape[0] * stage.shape[1]) for stage in stages])
  heights = CHAIN * np.sqrt(sides / sides.max())
  channels = [stage.shape[2] for stage in stages]
  norm = LogNorm(min(channels), max(2 * min(channels), *channels))
  for k, height in enumerate(heights):
    width = edges[k + 1] - edges[k]
    gap = min(max(0.15 * width, 1.5 / DPI), 0.02)  # at least 1.5 dots: less may be rounded to none
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


def _draw_exits(axes: Axes, exits: Sequence[ExitCost], leave: np.ndarray, layout: Layout) -> None:
  """Draws the branches and their boxes; `leave`, float [exits], is where branches begin."""
  half, steps = layout.box / 2, np.full(len(exits) - 1, layout.step)
  centres = spread(leave, steps, MARGIN + half, layout.width - MARGIN - half)
  for k, (cost, start, centre) in enumerate(zip(exits, leave, centres, strict=True)):
    lower = (len(exits) - 1 - k) % layout.rows
    top = layout.floor - lower * (BOX + GAP)
    bend = (start, layout.middle - CHAIN / 2 - AROUND)
    points = ((start, layout.middle), bend, (centre, layout.floor), (centre, top))
    for colour, extra in (('white', 1.5), (BRANCH, 0)):  # a white rim, for contrast with any shade
      axes.plot(start, layout.middle, 'o', color=colour, markersize=4 + extra, zorder=3)
      _line(axes, *points, color=colour, linewidth=1.5 + extra, zorder=3)
    _draw_box(axes, (centre - half, top - BOX), layout.box, cost, exits[-1].macs)


def _line(axes: Axes, start: Point, bend: Point, unbend: Point, end: Point, **style: Any) -> None:
  """Draws a line of two vertical pieces, joined by an S from `bend` to `unbend`.

  Lines never cross if their points have the same order from left to right at all four heights.
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
  """Draws the box of an exit: its facts, and a bar of its share of the last exit's MACs."""
  x, y = corner
  frame = FancyBboxPatch(corner, width, BOX, boxstyle='round,pad=0,rounding_size=0.05')
  frame.set(facecolor='white', edgecolor=BRANCH, linewidth=1.2, zorder=4)
  axes.add_patch(frame)
  for k, line in enumerate(facts(cost)):
    top = y + BOX - PAD - k * LINE
    weight = 'bold' if k == 0 else 'normal'
    axes.text(x + PAD, top, line, size=FONT, weight=weight, va='top', parse_math=False, zorder=5)
  share = cost.macs / last
  percent = f'{100 * share:.0f} %'
  room = width - 2 * PAD - text_width('100 %') - 0.05
  bar, head = room * min(1, share), room * min(1, share) * cost.head_macs / cost.macs
  bottom = y + PAD + 0.02
  for length, colour in ((room, '0.88'), (bar, BRANCH), (bar - head, '0.2')):
    axes.add_patch(Rectangle((x + PAD, bottom), length, 0.08, facecolor=colour, zorder=5))
  axes.text(x + width - PAD, bottom + 0.04, percent, size=FONT, ha='right', va='center', zorder=5)
