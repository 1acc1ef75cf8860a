"""The table of images that leave at each exit."""

from collections.abc import Sequence

import numpy as np

from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import Rule
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS
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
    rows by exit and side. The rank counts from 0, the highest or the lowest confidence. `right` is
    whether the prediction is right: all of its labels, or an error of at most the mean of the exit.
  """
  task = TASKS[test.task]
  # A fixed exit decides nothing; images are then sorted by the first rule of the task.
  fixed = policy.fixed_exit is not None and task is not CLASSIFICATION
  rule = Rule(task.rules[0]) if fixed else policy.rule
  confidence, exits = rule.confidence(test.logits), policy.leaves_at(test.logits)
  predicted, right = test.logits.argmax(axis=-1), _right(test)
  rows = []
  for k, name in enumerate(names):
    members = np.flatnonzero(exits == k)
    falling = members[np.argsort(-confidence[members, k], kind='stable')]
    surest, least = min(columns, (len(falling) + 1) // 2), min(columns, len(falling) // 2)
    sides = (falling[:surest], falling[::-1][:least])
    for side, chosen in zip(SIDES, sides, strict=True):
      for rank, example in enumerate(chosen):
        values = {'exit': name, 'side': side, 'rank': rank, 'id': ids[example]}
        if task.words is None:
          values['label'] = class_names[test.labels[example]]
          values['predicted'] = class_names[predicted[example, k]]
        else:
          values['label'] = task.words(test.labels[example], class_names)
          values['predicted'] = task.words(test.logits[example, k], class_names)
        values |= {'confidence': confidence[example, k], 'right': right[example, k]}
        rows.append(row(values))
  return rows


def _right(test: Predicted) -> np.ndarray:
  """Returns which predictions count as right, bool [N, exits]."""
  quality = test.quality()
  if quality.dtype == bool:
    return quality
  best = 1.0 if TASKS[test.task].shown.is_share else quality.mean(axis=0)
  return quality >= best
