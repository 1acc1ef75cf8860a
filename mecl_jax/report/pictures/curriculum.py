"""Pictures of a curriculum: how scores spread and agree, and what the exits see."""

from collections.abc import Mapping, Sequence
import os
import re
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from mecl_jax.report.pictures.plots import COLOURS, evenly, save

MOST_CLASSES = 20
CLEAN, FLIPPED = COLOURS[0], COLOURS[1]
DASHES = ((0, (4, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 4)))
CELLS = 50  # of a panel of ranks, along each side
SHADES = ListedColormap(colormaps['YlGnBu'](np.linspace(0.15, 1, 256)))  # none close to white
MOST_POINTS = 4000  # of a line


def score_distribution(
  score: np.ndarray,
  labels: np.ndarray,
  class_names: Sequence[str],
  path: str | os.PathLike,
  *,
  measure: str,
  flipped: np.ndarray | None = None,
) -> None:
  """Draws how a score spreads over all examples and within each class, as a PNG.

  Args:
    score: float [N], larger is harder.
    labels: int [N].
    class_names: of every label; of more than 20, the 10 easiest and 10 hardest are drawn.
    path: of the picture.
    measure: what the score is, like `'loss'`.
    flipped: bool [N], whose label is wrong by label noise: these are counted apart.
  """
  score = np.asarray(score, np.float64)
  edges, logarithmic = bins(score)
  present = np.unique(labels)
  quantiles = np.array([np.percentile(score[labels == c], (5, 25, 50, 75, 95)) for c in present])
  mean = np.array([score[labels == c].mean() for c in present])
  order = np.lexsort((mean, quantiles[:, 2]))  # easiest first, equal medians by their means
  at = np.arange(len(order), dtype=np.float64)
  half = MOST_CLASSES // 2
  which = 'class'
  if len(order) > MOST_CLASSES:
    which = f'class (the {half} easiest and {half} hardest of {len(order)})'
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
  _boxes(bottom, quantiles[order], at, [str(class_names[c]) for c in present[order]])
  bottom.set_ylabel(which)
  bottom.set_xlabel(f'{measure} (larger is harder)', parse_math=False)
  ends = np.log(edges[[0, -1]]) if logarithmic else edges[[0, -1]]
  ends = ends + 0.03 * np.ptp(ends) * np.array((-1, 1))  # log axes scale themselves badly
  bottom.set_xlim(np.exp(ends) if logarithmic else ends)
  for axes in (top, bottom):
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
  save(figure, path)


def _histogram(
  axes: Axes, score: np.ndarray, edges: np.ndarray, flipped: np.ndarray | None
) -> None:
  """Draws the share of each group of examples per bin."""
  groups = {'all': np.ones(len(score), bool)}
  if flipped is not None:
    groups = {'clean label': ~np.asarray(flipped), 'flipped label': np.asarray(flipped)}
  # Hatched, since colours alone merge where the two groups overlap and in grey print.
  styles: tuple[dict[str, Any], ...] = (
    {'facecolor': (*to_rgb(CLEAN), 0.3), 'edgecolor': CLEAN},
    {'facecolor': 'none', 'edgecolor': FLIPPED, 'hatch': '////'},
  )
  for (name, mask), style in zip(groups.items(), styles, strict=False):
    if mask.any():
      share = 100 * np.histogram(score[mask], edges)[0] / mask.sum()
      label = f'{name} ({mask.sum():,} examples)'
      axes.stairs(share, edges, fill=True, linewidth=1.5, label=label, **style)
  axes.set(ylabel='share of examples (%)' if flipped is None else 'share of its group (%)')
  axes.legend(loc='lower right', bbox_to_anchor=(1, 1), ncols=2, frameon=False)
  axes.tick_params(labelbottom=True)


def _boxes(axes: Axes, quantiles: np.ndarray, at: np.ndarray, names: Sequence[str]) -> None:
  """Draws a box per class from its quantiles [classes, 5], at heights `at`, the first on top."""
  low, first, median, third, high = quantiles.T
  whiskers = (median - low, high - median)
  axes.errorbar(median, at, xerr=whiskers, fmt='none', ecolor='black', elinewidth=1, capsize=3)
  axes.barh(
    at, third - first, left=first, height=0.6, color=COLOURS[5], edgecolor='black', zorder=3
  )
  axes.plot(median, at, '|k', markersize=9, markeredgewidth=2.5, zorder=4)
  axes.set_yticks(at, names, parse_math=False)
  axes.set_ylim(at[-1] + 0.7, at[0] - 0.7)
  axes.set_title('median, quartiles and 5-95 % of the examples of each class', size='medium')


def bins(score: np.ndarray) -> tuple[np.ndarray, bool]:
  """Returns the edges of a histogram, float [B + 1], and whether its axis is logarithmic.

  Whole numbers get bins around them, so that ties make no gaps; the axis is logarithmic if all
  scores are positive and span more than three decades.
  """
  low, high = float(score.min()), float(score.max())
  whole = bool((score == np.round(score)).all())
  logarithmic = low > 0 and high > 1000 * low
  if high - low <= 1e-9 * max(abs(low), abs(high)):
    half = max(0.5, 1e-6 * abs(low)) if whole else 0.05 * abs(low)
    return np.array([low - half, high + half]), False
  if logarithmic:
    edges = np.geomspace(low, high + whole, 61)
    edges[[0, -1]] = low, high + whole  # rounding must not leave the extremes outside
    return (np.unique(np.floor(edges)) - 0.5 if whole else edges), True
  if whole and high - low <= 6000:
    step = np.ceil((high - low + 1) / 100)
    return np.arange(low - 0.5, high + step, step), False
  return np.linspace(low, high, 61), False


def agreement(scores: Mapping[str, np.ndarray], path: str | os.PathLike) -> np.ndarray:
  """Draws how scores rank the same examples, a panel per pair, as a PNG.

  Args:
    scores: float [N] each, of the same examples in the same order; two or more.
    path: of the picture.

  Returns:
    Spearman's correlations, float64 [K, K], NaN where a score is constant.
  """
  from scipy.stats import rankdata, spearmanr  # a second of start-up, only here

  count = len(scores)
  if count < 2:
    raise ValueError('an agreement needs two scores or more')
  values = [np.asarray(v, np.float64) for v in scores.values()]
  varied = [bool((v != v[0]).any()) for v in values]
  rho = np.full((count, count), np.nan)
  percent = [100 * (rankdata(v) - 0.5) / len(v) for v in values]
  cells = min(CELLS, max(8, int(np.sqrt(len(values[0])) / 2)))
  edges = np.linspace(0, 100, cells + 1)
  panels = {}
  for i in range(count):
    rho[i, i] = 1 if varied[i] else np.nan
    for j in range(i):
      panels[i, j] = np.zeros((cells, cells))
      if varied[i] and varied[j]:
        rho[i, j] = rho[j, i] = spearmanr(values[i], values[j]).statistic
        panels[i, j] = np.histogram2d(percent[i], percent[j], (edges, edges))[0]

  inches = {2: 3.4, 3: 2.6, 4: 2.0}.get(count, 1.5)  # of a panel
  side = inches * (count - 1)
  names, title = list(scores), 'Agreement of the scores: rank against rank'
  if max(len(n) for n in names) > 40:  # too long for the side of a panel
    names = [chr(ord('A') + k) for k in range(count)]
    for letter, name in zip(names, scores, strict=True):
      title += '\n' + _wrap(f'{letter}: {name}', int(13 * (side + 1.8)))
  names = [_wrap(n, int(10 * inches)) for n in names]
  size = (side + 1.8, side + 0.8 + 0.15 * len(title.splitlines()))
  figure = Figure(figsize=size, layout='constrained')
  grid = figure.subplots(count - 1, count - 1, sharex=True, sharey=True, squeeze=False)
  # Ties heap up in single cells, which would leave all others pale.
  counts = np.concatenate([p[p > 0] for p in panels.values()])
  norm = LogNorm(1, max(10.0, np.quantile(counts, 0.99) if counts.size else 0))
  for axes in grid[np.triu_indices(count - 1, 1)]:
    axes.set_axis_off()
  for (i, j), panel in panels.items():
    axes, shown = grid[i - 1, j], np.ma.masked_equal(panel, 0)
    style = {'origin': 'lower', 'interpolation': 'nearest', 'cmap': SHADES, 'norm': norm}
    axes.imshow(shown, extent=(0, 100, 0, 100), **style)
    _correlation(axes, rho[i, j])
    axes.set(xticks=(20, 40, 60, 80), yticks=(20, 40, 60, 80))
    if j == 0:
      axes.set_ylabel(names[i], parse_math=False)
    if i == count - 1:
      axes.set_xlabel(names[j], parse_math=False)
  bar = figure.colorbar(
    ScalarMappable(norm, SHADES), ax=grid, shrink=min(1, 3 / side), extend='max', format='{x:,.0f}'
  )
  bar.set_label('examples per cell')
  figure.supxlabel('rank in % of the examples, 100 is hardest', size='medium')
  figure.suptitle(title, size='small', multialignment='left', parse_math=False)
  save(figure, path)
  return rho


def visible_shares(
  shares: Mapping[str, np.ndarray], path: str | os.PathLike, *, steps_per_epoch: float
) -> None:
  """Draws which share of the training set each exit sees at each step, as a PNG.

  Args:
    shares: exit name to float [T], the share at steps 0 to T-1, from 0 to 1.
    path: of the picture.
    steps_per_epoch: for the second axis.
  """
  figure = Figure(figsize=(7, 4), layout='constrained')
  axes = figure.subplots()
  for k, (name, share) in enumerate(shares.items()):
    at, height = changes(np.asarray(share))
    dashes = DASHES[(k - 1) % len(DASHES)] if k else '-'
    style: dict[str, Any] = {'color': COLOURS[k % len(COLOURS)], 'linestyle': dashes, 'label': name}
    # Later lines are thinner, so that an earlier one shows beneath where they coincide.
    width = 1.4 + 0.8 * min(5, len(shares) - 1 - k)
    axes.plot(at, 100 * height, drawstyle='steps-post', linewidth=width, **style)
  axes.set(xlabel='step', ylabel='visible share of the training set (%)', ylim=(0, 105))
  axes.set_xlim(0, max(len(s) for s in shares.values()))
  axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  axes.xaxis.set_major_formatter('{x:,.0f}')
  second = axes.secondary_xaxis(
    'top',
    functions=(
      lambda x: np.asarray(x) / steps_per_epoch,
      lambda x: np.asarray(x) * steps_per_epoch,
    ),
  )
  second.set_xlabel('epochs')
  axes.grid(alpha=0.3)
  figure.legend(title='exit', loc='outside right upper', handlelength=4)
  save(figure, path)


def changes(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Thins a staircase, float [T], to where it changes, and these evenly to some thousands.

  Returns:
    Steps, int [P], and values, float [P], from 0 to T, where the last value ends.
  """
  kept = np.flatnonzero(np.concatenate(([True], share[1:] != share[:-1])))
  kept = evenly(kept, MOST_POINTS)
  return np.append(kept, len(share)), np.append(share[kept], share[-1])


def _correlation(axes: Axes, rho: float) -> None:
  """Writes a correlation into the corner that the points leave empty."""
  if np.isnan(rho):
    axes.text(0.5, 0.5, 'none', transform=axes.transAxes, va='center', ha='center')
    return
  x, align = (0.95, 'right') if rho < 0 else (0.05, 'left')
  text = f'ρ = {round(rho, 2) + 0.0:.2f}'.replace('-', '−')  # + 0.0 makes -0.0 positive
  box = {'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.85, 'pad': 2}
  axes.text(x, 0.94, text, transform=axes.transAxes, va='top', ha=align, bbox=box)


def _wrap(name: str, width: int) -> str:
  """Breaks a long name, after a separator where there is one."""
  lines = ['']
  for part in re.findall(rf'[^/_. -]{{1,{width - 1}}}[/_. -]?|[/_. -]', name):
    if lines[-1] and len(lines[-1]) + len(part) > width:
      lines.append('')
    lines[-1] += part
  return '\n'.join(lines)
