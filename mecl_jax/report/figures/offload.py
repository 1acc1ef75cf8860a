"""The figure of a split between device and server."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from mecl_jax.report import style
from mecl_jax.report.rows import Rows, texts, values


def draw_offload(policies: Rows, real: Rows) -> Figure:
  """Draws accuracy against latency, and accuracy against bytes, one mark per policy.

  Args:
    policies: the table `policies`.
    real: the table `real`, whose mean times are hollow marks; it may be empty.
  """
  figure, (times, sizes), _ = style.panels('offload', 2, 2, 3.3)
  measured = dict(zip(texts(real, 'policy'), real, strict=True))
  for k, row in enumerate(policies):
    look = style.look(k) | {'linestyle': 'none', 'markersize': 8}
    accuracy = 100 * values([row], 'accuracy')
    mean, p95 = values([row], 'mean_ms'), values([row], 'p95_ms')
    label = str(row['policy'])
    times.plot(mean, accuracy, label=label, **look)
    times.plot([mean[0], p95[0]], [accuracy[0]] * 2, color=look['color'], linewidth=1, alpha=0.6)
    sizes.plot(values([row], 'bytes'), accuracy, **look)
    if label in measured:
      # At the height of the simulation, whose images are more.
      x = values([measured[label]], 'mean_ms_real')
      times.plot(x, accuracy, **(look | {'markerfacecolor': 'none', 'markersize': 12}))
  times.set(xlabel='mean latency, and p95 (ms)', ylabel='test accuracy (%)')
  sizes.set(xlabel='bytes per image', ylabel='test accuracy (%)')
  _set_scales(times, sizes, policies)
  handles = times.get_legend_handles_labels()[0]
  style.write_legend(figure, None, handles)
  return figure


def _set_scales(times: Axes, sizes: Axes, policies: Rows) -> None:
  """Sets logarithmic scales where values lie far apart; 0 bytes have a place of their own."""
  mean = values(policies, 'mean_ms')
  if mean.max() > 10 * mean.min() > 0:
    times.set_xscale('log')
  some = values(policies, 'bytes')
  some = some[some > 0]
  if len(some) and some.max() > 10 * some.min():
    sizes.set_xscale('symlog', linthresh=float(10 ** np.floor(np.log10(some.min()))))
    sizes.set_xlim(left=-0.2 * some.min())
