"""The table of images that leave at each exit."""

from collections.abc import Sequence

import numpy as np

from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.report.rows import Rows, row

SIDES = ('surest', 'least sure')  # the highest and the lowest confidences at an exit
COLUMNS = 8  # images of each side


def examples_rows(
  policy: Policy,
  test: Predicted,
  ids: np.ndarray,
  class_names: Sequence[str],
  names: Sequence[str],
  columns: int = COLUMNS,
) -> Rows:
  """Returns the images with the highest and lowest confidence among those that leave at each exit.

  Args:
    policy: decides where an image leaves, and with which confidence.
    test: predictions of the test split.
    ids: str [N], of the test images.
    class_names: by label.
    names: of the exits. An exit at which no image leaves has no row.
    columns: images of each side; fewer if fewer than twice as many leave. No image is in both.

  Returns:
    rows by exit and side. The rank counts from 0, the highest or the lowest confidence.
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
