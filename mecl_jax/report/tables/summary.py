"""The table of what the exits of a run are worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from mecl_jax.evaluation import intervals, metrics
from mecl_jax.evaluation.costs import dynamic_macs
from mecl_jax.models import ExitCost
from mecl_jax.models.macs import quantity

TOP_5_FROM = 20  # classes from which top-5 accuracy says something


def exit_rows(
  logits: np.ndarray, labels: np.ndarray, names: Sequence[str], costs: Sequence[ExitCost]
) -> list[dict[str, Any]]:
  """One row per exit of a summary, earliest first.

  `accuracy` has the ends of its 95 % bootstrap interval beside it; `auroc` is None where it has no
  value, at an exit that is always right or always wrong.

  Args:
    logits: [N, exits, classes].
    labels: int [N].
    names: of the exits.
    costs: of the exits. `macs` are those of an exit by itself, `dynamic_macs` those of an image
      that leaves there and was asked at all exits before.
  """
  interval = intervals.mean_interval(metrics.correct(logits, labels))
  rows = []
  dynamic = dynamic_macs(costs)
  for k, (name, cost) in enumerate(zip(names, costs, strict=True)):
    auroc = metrics.auroc(logits[:, k], labels)
    row = {
      'name': name,
      'accuracy': metrics.accuracy(logits[:, k], labels),
      'accuracy_low': float(interval.low[k]),
      'accuracy_high': float(interval.high[k]),
      'nll': metrics.nll(logits[:, k], labels),
      'brier': metrics.brier(logits[:, k], labels),
      'ece': metrics.ece(logits[:, k], labels),
      'auroc': None if np.isnan(auroc) else auroc,
      'macs': cost.macs,
      'dynamic_macs': int(dynamic[k]),
      'parameters': cost.parameters,
    }
    if logits.shape[-1] >= TOP_5_FROM:
      row['top_5'] = metrics.top_k_accuracy(logits[:, k], labels)
    rows.append(row)
  return rows


def exit_table(summary: Mapping[str, Any]) -> Table:
  """The per-exit table of a run's summary, which may be of a version without intervals."""
  title = f'{summary["dataset"]}, {summary["backbone"]}, {summary["strategy"]}: test split'
  known = 'accuracy_low' in summary['exits'][0]
  caption = '±: half of the 95 % bootstrap interval, in points' if known else None
  table = Table(title=title, title_justify='left', caption=caption, caption_justify='left')
  table.add_column('exit')
  top_5 = 'top_5' in summary['exits'][0]
  for column in ('accuracy', *(['top-5'] if top_5 else []), 'NLL', 'ECE', 'parameters', 'MACs'):
    table.add_column(column, justify='right')
  for row in summary['exits']:
    table.add_row(
      row['name'],
      f'{row["accuracy"]:.2%}{_half(row)}',
      *([f'{row["top_5"]:.2%}'] if top_5 else []),
      f'{row["nll"]:.3f}',
      f'{row["ece"]:.3f}',
      quantity(row['parameters']),
      quantity(row['macs']),
    )
  return table


def _half(row: Mapping[str, Any]) -> str:
  """Half the interval of an accuracy, in points."""
  if 'accuracy_low' not in row:
    return ''
  return f' ±{50 * (row["accuracy_high"] - row["accuracy_low"]):.2f}'
