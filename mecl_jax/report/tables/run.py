"""Tables of how a run trained, and of the images that leave at each exit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.pages.page import Rows
from mecl_jax.report.pictures.contact_sheet import SIDES
from mecl_jax.report.rows import row

COLUMNS = 8  # examples of each side


def training_rows(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Rows:
  """A row per line of metrics.jsonl; what a line does not tell is None.

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


def examples_rows(
  policy: Policy,
  test: Predicted,
  ids: np.ndarray,
  class_names: Sequence[str],
  names: Sequence[str],
  columns: int = COLUMNS,
) -> Rows:
  """The images of which each exit is surest and least sure, of those that leave there.

  Args:
    policy: that says who leaves where, and how sure an exit is.
    test: predictions of the test split.
    ids: str [N], of its images.
    class_names: of every label.
    names: of the exits; one at which nobody leaves has no row.
    columns: images of a side; fewer where less than twice as many leave. None is in both.

  Returns:
    rows by exit and side; the rank of a side counts from 0, the surest or the least sure of all.
  """
  confidence, exits = policy.rule.confidence(test.logits), policy.leaves_at(test.logits)
  predicted, right = test.logits.argmax(axis=-1), test.right()
  rows = []
  for k, name in enumerate(names):
    members = np.flatnonzero(exits == k)
    falling = members[np.argsort(-confidence[members, k], kind='stable')]
    surest, least = min(columns, (len(falling) + 1) // 2), min(columns, len(falling) // 2)
    sides = (falling[:surest], falling[::-1][:least])
    for side, chosen in zip(SIDES, sides, strict=True):
      for rank, example in enumerate(chosen):
        values = {'exit': name, 'side': side, 'rank': rank, 'id': ids[example]}
        values['label'] = class_names[test.labels[example]]
        values['predicted'] = class_names[predicted[example, k]]
        values |= {'confidence': confidence[example, k], 'right': right[example, k]}
        rows.append(row(values))
  return rows
