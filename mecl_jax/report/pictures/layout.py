"""Where the parts of a network's picture stand, in inches."""

from collections.abc import Sequence
import dataclasses
import itertools

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
import numpy as np

from mecl_jax.models.macs import ExitCost, StageCost, quantity

CAPTION = (
  'MACs: multiply-accumulates per image, up to the exit and with its head; below them the head'
  ' alone, orange in the bar.\n%: share of the MACs of the last exit. Params: trainable parameters,'
  ' up to the exit and with its head.\nBlocks: wider for more MACs, higher for larger feature maps'
  ' (square root of the side), darker for more channels (ch).'
)

# Lengths are inches, which are also the units of the axes; font sizes are points.
WIDTH = 8.0  # of the picture, unless its labels need more
MARGIN = 0.15
LEFT = 0.7  # where the chain begins, after the word `image`
FONT = 8.0
TITLE = 1.25 * FONT
LINE = 0.155  # from one line of text to the next
CHAIN = 1.1  # height of the largest feature map
THIN = 0.05  # least width of a block, so that a block without MACs is visible
AROUND = 0.08  # from the chain to the brackets above and to the branches below
FAN = 0.5  # height of the part in which branches run sideways to their boxes
PAD = 0.07  # inside a box
GAP = 0.12  # between boxes, and between labels
BOX = 5 * LINE + 2 * PAD  # height of a box: four lines of text and a bar


@dataclasses.dataclass(frozen=True)
class Group:
  """Neighbouring stages whose names are equal up to the last underscore.

  Attributes:
    label: text above the group.
    width: of the label, in inches.
    start, stop: indices of the first stage, and of the stage after the last one.
  """

  label: str
  width: float
  start: int
  stop: int


@dataclasses.dataclass(frozen=True)
class Layout:
  """Sizes and positions in a picture, in inches from its lower left corner.

  Attributes:
    width, height: of the picture.
    box: width of a box.
    rows: number of rows of boxes, 1 or 2.
    step: least distance between the centres of neighbouring boxes, whatever their rows.
    floor: upper edge of the upper row of boxes.
    middle: height of the chain of blocks.
  """

  width: float
  height: float
  box: float
  rows: int
  step: float
  floor: float
  middle: float


def layout_of(title: str, groups: Sequence[Group], exits: Sequence[ExitCost]) -> Layout:
  """Returns the layout of a picture that has room for all labels and boxes."""
  lines = [facts(cost) for cost in exits]
  box = 2 * PAD + max(
    *(text_width(name, bold=True) for name, *_ in lines),
    *(text_width(line) for _, *others in lines for line in others),
  )
  inner = WIDTH - 2 * MARGIN
  # Boxes that do not fit into one row alternate between two rows. The branch to a lower box then
  # runs between two upper boxes.
  rows = 1 if len(exits) * (box + GAP) - GAP <= inner else 2
  step = (box + GAP) / rows
  inner = max(
    inner,
    box + step * (len(exits) - 1),
    sum(group.width + GAP for group in groups) - GAP,
    text_width(title, bold=True, size=TITLE),
  )
  floor = 2 * MARGIN + len(CAPTION.splitlines()) * LINE + rows * (BOX + GAP) - GAP
  middle = floor + FAN + CHAIN / 2
  height = middle + CHAIN / 2 + 0.32 + 3 * LINE + 0.4
  return Layout(inner + 2 * MARGIN, height, box, rows, step, floor, middle)


def facts(cost: ExitCost) -> tuple[str, ...]:
  """Returns the lines of text in the box of an exit; the first is its name."""
  return (
    cost.name,
    f'{quantity(cost.macs)} MACs',
    f'{cost.head} head: {quantity(cost.head_macs)}',
    f'{quantity(cost.parameters)} params',
  )


def groups_of(stages: Sequence[StageCost]) -> list[Group]:
  """Groups neighbouring stages by their names up to the last underscore."""
  groups, start = [], 0
  for name, members in itertools.groupby(
    stages, key=lambda stage: stage.name.rpartition('_')[0] or stage.name
  ):
    shapes = [stage.shape for stage in members]
    rows, columns, last = shapes[-1]
    first = shapes[0][2]
    channels = f'{last}' if first == last else f'{first}–{last}'
    label = f'{name}\n{rows}×{columns}\n{channels} ch'
    width = max(map(text_width, label.split('\n')))
    groups.append(Group(label, width, start, start + len(shapes)))
    start += len(shapes)
  return groups


def edges_of(stages: Sequence[StageCost], left: float, right: float) -> np.ndarray:
  """Returns the borders of the blocks, float [stages + 1], in inches.

  Widths are proportional to MACs, except for blocks that would be thinner than `THIN`.
  """
  macs = np.array([stage.macs for stage in stages], float)
  room = right - left
  thin = min(THIN, room / len(macs) / 2)
  raised = macs == 0
  # Each widened block leaves less room to the others, so that more of them may become too thin.
  while True:
    share = macs * (room - thin * raised.sum()) / macs[~raised].sum()
    if not (share[~raised] < thin).any():
      break
    raised |= share < thin
  return left + np.concatenate(([0], np.cumsum(np.where(raised, thin, share))))


def spread(targets: np.ndarray, distances: np.ndarray, low: float, high: float) -> np.ndarray:
  """Moves points apart with the least sum of squared shifts.

  Args:
    targets: float [K], ascending; the points before they are moved.
    distances: float [K - 1], least distances between neighbours.
    low, high: bounds of all points; the points must fit between them.

  Returns:
    float [K], ascending; the moved points.
  """
  offsets = np.concatenate(([0], np.cumsum(distances)))
  wanted = targets - offsets
  count = len(wanted)
  # The closest ascending values (isotonic regression), by their minimax formula.
  mean = [[wanted[i : j + 1].mean() for j in range(i, count)] for i in range(count)]
  ascending = [max(min(mean[i][k - i :]) for i in range(k + 1)) for k in range(count)]
  return np.clip(ascending, low, high - offsets[-1]) + offsets


def text_width(text: str, bold: bool = False, size: float = FONT) -> float:
  """Returns the width of a text in inches; `size` is in points."""
  font = FontProperties(weight='bold' if bold else 'normal', size=size)
  return text_to_path.get_text_width_height_descent(text, font, False)[0] / 72
