"""The picture of how far difficulty scores agree: rank against rank."""

from collections.abc import Mapping
import os
import re

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
import numpy as np

from mecl_jax.report.style import SHADES, save

CELLS = 50  # along each side of a panel
LONGEST = 40  # letters of a name that fit beside a panel


def draw_agreement(scores: Mapping[str, np.ndarray], path: str | os.PathLike) -> np.ndarray:
  """Draws the ranks that scores give to the same examples, a panel per pair, as a PNG.

  Args:
    scores: name to score, float [N]; two or more, of the same examples in the same order.
    path: of the picture.

  Returns:
    Spearman's rank correlations, float64 [scores, scores], NaN where a score is constant.

  Raises:
    ValueError: there are fewer than two scores.
  """
  from scipy.stats import rankdata, spearmanr  # imported here, as it takes a second

  count = len(scores)
  if count < 2:
    raise ValueError(f'there are {count} scores; agreement needs two or more')
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
  names, title = list(scores), 'Agreement of the scores: ranks of the same examples'
  if max(len(n) for n in names) > LONGEST:
    names = [chr(ord('A') + k) for k in range(count)]
    for letter, name in zip(names, scores, strict=True):
      title += '\n' + _wrap(f'{letter}: {name}', int(13 * (side + 1.8)))
  names = [_wrap(n, int(10 * inches)) for n in names]
  size = (side + 1.8, side + 0.8 + 0.15 * len(title.splitlines()))
  figure = Figure(figsize=size, layout='constrained')
  grid = figure.subplots(count - 1, count - 1, sharex=True, sharey=True, squeeze=False)
  # Ties fall into single cells; without the limit all other cells would be pale.
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
  figure.supxlabel('rank (% of the examples; 100 is the hardest)', size='medium')
  figure.suptitle(title, size='small', multialignment='left', parse_math=False)
  save(figure, path)
  return rho


def _correlation(axes: Axes, rho: float) -> None:
  """Writes a correlation into the emptier corner of a panel."""
  if np.isnan(rho):
    axes.text(0.5, 0.5, 'none', transform=axes.transAxes, va='center', ha='center')
    return
  x, align = (0.95, 'right') if rho < 0 else (0.05, 'left')
  text = f'ρ = {round(rho, 2) + 0.0:.2f}'.replace('-', '−')  # + 0.0 makes -0.0 positive
  box = {'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.85, 'pad': 2}
  axes.text(x, 0.94, text, transform=axes.transAxes, va='top', ha=align, bbox=box)


def _wrap(name: str, width: int) -> str:
  """Breaks a long name into lines, after separators where possible."""
  lines = ['']
  for part in re.findall(rf'[^/_. -]{{1,{width - 1}}}[/_. -]?|[/_. -]', name):
    if lines[-1] and len(lines[-1]) + len(part) > width:
      lines.append('')
    lines[-1] += part
  return '\n'.join(lines)
