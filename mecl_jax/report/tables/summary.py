"""The exits in summary.json, and their table in the terminal."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from mecl_jax.evaluation.costs import dynamic_macs
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS, Task
from mecl_jax.models import ExitCost
from mecl_jax.models.macs import quantity
from mecl_jax.report.cells import heading, show
from mecl_jax.terminal import FittedTable

COSTS = ('macs', 'dynamic_macs', 'parameters')


def exit_rows(
  found: Mapping[str, Interval],
  names: Sequence[str],
  costs: Sequence[ExitCost],
  task: Task = CLASSIFICATION,
) -> list[dict[str, Any]]:
  """Returns the rows of a summary, one per exit, earliest first.

  The quality of the task, for classification `accuracy`, has the ends of its 95 % interval. A
  metric that is not defined, as `auroc` at an exit that is always right, is None.

  Args:
    found: metrics of the exits, see `exit_metrics`; of the intervals only that of the quality is
      used.
    names: of the exits.
    costs: of the exits. `macs` are those of an exit alone, `dynamic_macs` those of an image that
      leaves there and has passed the heads of all earlier exits.
    task: of the predictions.
  """
  rows, quality = [], task.shown.column
  dynamic = dynamic_macs(costs)
  for k, (name, cost) in enumerate(zip(names, costs, strict=True)):
    value = {metric: float(interval.estimate[k]) for metric, interval in found.items()}
    top_5 = {'top_5': value.pop('top_5')} if 'top_5' in value else {}
    rows.append(
      {
        'name': name,
        quality: value.pop(quality),
        f'{quality}_low': float(found[quality].low[k]),
        f'{quality}_high': float(found[quality].high[k]),
        **{metric: None if math.isnan(number) else number for metric, number in value.items()},
        'macs': cost.macs,
        'dynamic_macs': int(dynamic[k]),
        'parameters': cost.parameters,
        **top_5,
      }
    )
  return rows


def exit_table(summary: Mapping[str, Any]) -> FittedTable:
  """Returns the table of the exits in a summary, for a terminal."""
  title = f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}: test split'
  if 'task' in summary:
    return _table_of_task(title, summary)
  caption = 'in brackets: the 95 % interval; ECE: debiased'
  top_5 = 'top_5' in summary['exits'][0]
  numbers = ('accuracy', *(['top-5'] if top_5 else []), 'NLL', 'ECE', 'parameters', 'MACs')
  rows = [
    (
      row['name'],
      f'{row["accuracy"]:.2%}{_interval(row)}',
      *([f'{row["top_5"]:.2%}'] if top_5 else []),
      f'{row["nll"]:.3f}',
      f'{row["ece"]:.3f}',
      quantity(row['parameters']),
      quantity(row['macs']),
    )
    for row in summary['exits']
  ]
  optional = ('parameters', 'ECE', 'NLL', 'top-5')
  return FittedTable(title, ('exit', *numbers), rows, numbers, optional, caption=caption)


def _table_of_task(title: str, summary: Mapping[str, Any]) -> FittedTable:
  """Returns the table of a task other than classification."""
  shown, exits = TASKS[summary['task']].shown, summary['exits']
  quality = shown.column
  fixed = ('name', quality, f'{quality}_low', f'{quality}_high', *COSTS)
  others = [name for name in exits[0] if name not in fixed]
  headings = [heading(name) for name in (quality, *others)]
  rows = []
  for row in exits:
    value, interval = show(row, quality)
    values = [f'{value} ({interval})']
    values += [show(row, name)[0] for name in others]
    rows.append((row['name'], *values, quantity(row['parameters']), quantity(row['macs'])))
  numbers = (*headings, 'parameters', 'MACs')
  units = f'; unit of the targets: {summary["units"]}' if summary['units'] else ''
  caption = f'in brackets: the 95 % interval{units}'
  optional = ('parameters', *headings[:0:-1])
  return FittedTable(title, ('exit', *numbers), rows, numbers, optional, caption=caption)


def _interval(row: Mapping[str, Any]) -> str:
  """Formats the interval of an accuracy, in per cent."""
  low, high = (f'{100 * row[f"accuracy_{end}"]:.1f}' for end in ('low', 'high'))
  return f' ({low} to {high})'
