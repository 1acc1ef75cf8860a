"""The picture of how difficulty scores spread over a training set and within its classes."""

from collections.abc import Sequence
import os
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from mecl_jax.report.style import COLOURS, save, shorten

MOST_CLASSES = 20
CLEAN, FLIPPED = COLOURS[0], COLOURS[1]


def draw_scores(
  score: np.ndarray,
  labels: np.ndarray,
  class_names: Sequence[str],
  path: str | os.PathLike,
  *,
  measure: str,
  flipped: np.ndarray | None = None,
) -> None:
  """Draws the distribution of a score over all examples and within each class, as a PNG.

  Args:
    score: float [N], larger is harder.
    labels: int [N].
    class_names: by label. Of more than 20 classes, the 10 easiest and the 10 hardest are drawn.
    path: of the picture.
    measure: name of the score, for the axis.
    flipped: bool [N], True where the label was changed; drawn as a group of its own.
  """
  score = np.asarray(score, np.float64)
  edges, logarithmic = bins(score)
  present = np.unique(labels)
  quantiles = np.array([np.percentile(score[labels == c], (5, 25, 50, 75, 95)) for c in present])
  mean = np.array([score[labels == c].mean() for c in present])
  order = np.lexsort(
    (mean, quantiles[:, 2])
  )  # easiest first; the mean decides between equal medians
  at = np.arange(len(order), dtype=np.float64)
  half = MOST_CLASSES // 2
  which = 'class'
  if len(order) > MOST_CLASSES:
    which = f'class (the {half} easiest and the {half} hardest of {len(order)})'
    order = np.concatenate((order[:half], order[-half:]))
    at = np.arange(len(order)) + np.repeat((0.0, 1.0), half)

  size = 0.22 * (at[-1] + 2)
  figure = Figure(figsize=(7, 3.6 + size), layout='constrained')
  top, bottom = figure.subplots(2, sharex=True, height_ratios=(2.6, size))
  if logarithmic:
    bottom.set_xscale('log')
  elif (score == np.round(score)).all():
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
  _histogram(top, score, edges, flipped)
  _boxes(bottom, quantiles[order], at, [shorten(str(class_names[c])) for c in present[order]])
  bottom.set_ylabel(which)
  bottom.set_xlabel(f'{measure} (larger is harder)', parse_math=False)
  ends = np.log(edges[[0, -1]]) if logarithmic else edges[[0, -1]]
  ends = ends + 0.03 * np.ptp(ends) * np.array((-1, 1))  # logarithmic axes choose poor limits
  bottom.set_xlim(np.exp(ends) if logarithmic else ends)
  for axes in (top, bottom):
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
  save(figure, path)


def _histogram(
  axes: Axes, score: np.ndarray, edges: np.ndarray, flipped: np.ndarray | None
) -> None:
  """Draws a histogram per group of examples, in % of the group."""
  groups = {'all': np.ones(len(score), bool)}
  if flipped is not None:
    groups = {'clean label': ~np.asarray(flipped), 'wrong label': np.asarray(flipped)}
  # Hatched, because colours alone are hard to tell apart in grey print and where groups overlap.
  styles: tuple[dict[str, Any], ...] = (
    {'facecolor': (*to_rgb(CLEAN), 0.3), 'edgecolor': CLEAN},
    {'facecolor': 'none', 'edgecolor': FLIPPED, 'hatch': '////'},
  )
  for (name, mask), style in zip(groups.items(), styles, strict=False):
    if mask.any():
      share = 100 * np.histogram(score[mask], edges)[0] / mask.sum()
      label = f'{name} ({mask.sum():,} examples)'
      axes.stairs(share, edges, fill=True, linewidth=1.5, label=label, **style)
  axes.set(ylabel='share of examples (%)' if flipped is None else 'share of the group (%)')
  axes.legend(loc='lower right', bbox_to_anchor=(1, 1), ncols=2, frameon=False)
  axes.tick_params(labelbottom=True)


def _boxes(axes: Axes, quantiles: np.ndarray, at: np.ndarray, names: Sequence[str]) -> None:
  """Draws a box per class from its quantiles [classes, 5], at heights `at` [classes]."""
  low, first, median, third, high = quantiles.T
  whiskers = (median - low, high - median)
  axes.errorbar(median, at, xerr=whiskers, fmt='none', ecolor='black', elinewidth=1, capsize=3)
  axes.barh(
    at, third - first, left=first, height=0.6, color=COLOURS[5], edgecolor='black', zorder=3
  )
  axes.plot(median, at, '|k', markersize=9, markeredgewidth=2.5, zorder=4)
  axes.set_yticks(at, names, parse_math=False)
  axes.set_ylim(at[-1] + 0.7, at[0] - 0.7)
  axes.set_title('scores per class: median, quartiles, 5 % to 95 %', size='medium')


def bins(score: np.ndarray) -> tuple[np.ndarray, bool]:
  """Returns the edges of a histogram, float [bins + 1], and whether its axis is logarithmic.

  Bins of whole numbers are centred on whole numbers, so that no bin stays empty between them. The
  axis is logarithmic if all scores are positive and the largest is over 1000 times the smallest.
  """
  low, high = float(score.min()), float(score.max())
  whole = bool((score == np.round(score)).all())
  logarithmic = low > 0 and high > 1000 * low
  if high - low <= 1e-9 * max(abs(low), abs(high)):
    half = max(0.5, 1e-6 * abs(low)) if whole else 0.05 * abs(low)
    return np.array([low - half, high + half]), False
  if logarithmic:
    edges = np.geomspace(low, high + whole, 61)
    edges[[0, -1]] = low, high + whole  # rounding could leave the extremes outside
    return (np.unique(np.floor(edges)) - 0.5 if whole else edges), True
  if whole and high - low <= 6000:
    step = np.ceil((high - low + 1) / 100)
    return np.arange(low - 0.5, high + step, step), False
  return np.linspace(low, high, 61), False
