"""The exits in summary.json, and their table in the terminal."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from mecl_jax.evaluation.costs import dynamic_macs
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.models import ExitCost
from mecl_jax.models.macs import quantity
from mecl_jax.terminal import FittedTable


def exit_rows(
  found: Mapping[str, Interval], names: Sequence[str], costs: Sequence[ExitCost]
) -> list[dict[str, Any]]:
  """Returns the rows of a summary, one per exit, earliest first.

  `accuracy` has the ends of its 95 % interval; `auroc` is None at an exit that is always
  right or always wrong.

  Args:
    found: metrics of the exits, see `exit_metrics`; of the intervals only that of the accuracy is
      used.
    names: of the exits.
    costs: of the exits. `macs` are those of an exit alone, `dynamic_macs` those of an image that
      leaves there and has passed the heads of all earlier exits.
  """
  rows = []
  dynamic = dynamic_macs(costs)
  for k, (name, cost) in enumerate(zip(names, costs, strict=True)):
    value = {metric: float(interval.estimate[k]) for metric, interval in found.items()}
    row = {
      'name': name,
      'accuracy': value['accuracy'],
      'accuracy_low': float(found['accuracy'].low[k]),
      'accuracy_high': float(found['accuracy'].high[k]),
      'nll': value['nll'],
      'brier': value['brier'],
      'ece': value['ece'],
      'auroc': None if math.isnan(value['auroc']) else value['auroc'],
      'macs': cost.macs,
      'dynamic_macs': int(dynamic[k]),
      'parameters': cost.parameters,
    }
    if 'top_5' in value:
      row['top_5'] = value['top_5']
    rows.append(row)
  return rows


def exit_table(summary: Mapping[str, Any]) -> FittedTable:
  """Returns the table of the exits in a summary, for a terminal."""
  title = f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}: test split'
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


def _interval(row: Mapping[str, Any]) -> str:
  """Formats the interval of an accuracy, in per cent."""
  low, high = (f'{100 * row[f"accuracy_{end}"]:.1f}' for end in ('low', 'high'))
  return f' ({low} to {high})'
