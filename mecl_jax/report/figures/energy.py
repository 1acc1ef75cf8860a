"""Figure of a simulated store of energy: income, level, missed images, and answers per policy."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
import numpy as np

from mecl_jax.report import style
from mecl_jax.report.rows import Rows, columns_of, groups, texts, values
from mecl_jax.report.style import COLOURS

STORE = 'store'  # in the column `supply`: the rows of the store
ANSWERS: tuple[tuple[str, dict[str, Any]], ...] = (
  ('right', {'facecolor': COLOURS[5]}),
  ('wrong', {'facecolor': '0.75', 'hatch': '//'}),
  ('missed', {'facecolor': 'white', 'hatch': '..'}),
)


def energy(rows: Rows, trace: Rows) -> Figure:
  """Draws what a store of energy gains and holds over time, and how its images are answered.

  Args:
    rows: the table `energy`.
    trace: the table `energy_trace`.
  """
  (unit,) = columns_of(trace, 'level:')
  figure, (income, level, missed, answers), _ = style.panels('energy', 4, 2, 2.3)
  policies = groups(trace, 'policy')
  first = next(iter(policies.values()))
  x = values(first, 'interval')
  income.fill_between(x, values(first, f'income:{unit}'), color=COLOURS[4], linewidth=0)
  income.set(ylabel=f'income ({unit})')
  handles: list[Any] = []
  for k, ((name,), of_policy) in enumerate(policies.items()):
    look: dict[str, Any] = {'color': COLOURS[k], 'linestyle': style.LINES[k], 'linewidth': 1.4}
    level.plot(x, values(of_policy, f'level:{unit}'), **look)
    missed.plot(x, values(of_policy, 'missed_so_far'), **look)
    handles.append(Line2D([], [], label=name, **look))
  level.set(ylabel=f'level of the store ({unit})')
  missed.set(ylabel='missed images so far')
  for axes in (income, level, missed):
    axes.set_xlabel('interval')
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
  _draw_answers(answers, [row for row in rows if row['supply'] == STORE])
  handles += [Patch(label=label, edgecolor='black', **look) for label, look in ANSWERS]
  figure.suptitle('simulated; no energy was measured', size='small')
  style.write_legend(figure, None, handles)
  return figure


def _draw_answers(axes: Axes, rows: Rows) -> None:
  """Draws the shares of right, wrong and missed images, a bar per policy."""
  right, missed = (100 * values(rows, f'{name}_share') for name in ('right', 'missed'))
  bottom = np.zeros(len(rows))
  for (_, look), share in zip(ANSWERS, (right, 100 - right - missed, missed), strict=True):
    axes.bar(np.arange(len(rows)), share, 0.65, bottom, edgecolor='black', linewidth=0.6, **look)
    bottom += share
  ends = [100 * values(rows, f'right_share_{end}') for end in ('low', 'high')]
  error = np.abs(np.array(ends) - right).clip(min=0)
  axes.errorbar(np.arange(len(rows)), right, error, fmt='none', ecolor='black', capsize=3)
  for k, share in enumerate(right):
    axes.text(k, share / 2, f'{share:.0f}', ha='center', va='center', size='small')
  axes.set_xticks(np.arange(len(rows)), texts(rows, 'policy'))
  axes.set(ylabel='images (%)', ylim=(0, 100))
  axes.grid(visible=False, axis='x')
