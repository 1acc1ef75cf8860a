"""The picture of which share of the training set each exit sees at each step."""

from collections.abc import Mapping
import os
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from mecl_jax.report.style import COLOURS, DASHES, evenly, save

MOST_POINTS = 4000  # of a line; more cannot be seen


def draw_visible_shares(
  shares: Mapping[str, np.ndarray], path: str | os.PathLike, *, steps_per_epoch: float
) -> None:
  """Draws the share of the training set that each exit sees at each step, as a PNG.

  Args:
    shares: exit name to its share, float [T], from 0 to 1, at steps 0 to T-1.
    path: of the picture.
    steps_per_epoch: converts steps to epochs for the upper axis.
  """
  figure = Figure(figsize=(7, 4), layout='constrained')
  axes = figure.subplots()
  for k, (name, share) in enumerate(shares.items()):
    at, height = changes(np.asarray(share))
    dashes = DASHES[(k - 1) % len(DASHES)] if k else '-'
    style: dict[str, Any] = {'color': COLOURS[k % len(COLOURS)], 'linestyle': dashes, 'label': name}
    # Later lines are thinner, so that earlier lines stay visible where lines coincide.
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
  """Returns the steps at which a step function changes, at most `MOST_POINTS` of them.

  Args:
    share: float [T], the value at steps 0 to T-1.

  Returns:
    steps, int [P], from 0 to T, and the values from these steps on, float [P].
  """
  kept = np.flatnonzero(np.concatenate(([True], share[1:] != share[:-1])))
  kept = evenly(kept, MOST_POINTS)
  return np.append(kept, len(share)), np.append(share[kept], share[-1])
