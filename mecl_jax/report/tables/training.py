"""The table of how a run trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from mecl_jax.report.rows import Rows, row


def training_rows(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Rows:
  """Returns a row per line of metrics.jsonl, with None for what the line does not hold.

  Args:
    records: the lines.
    names: of the exits.
  """
  return [
    row(
      {key: record.get(key) for key in ('step', 'phase', 'loss', 'visible')}
      | {f'validation:{name}': record.get('validation', {}).get(name) for name in names}
    )
    for record in records
  ]
