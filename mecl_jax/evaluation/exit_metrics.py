"""Metrics of every exit with their intervals, for summary.json and the tables."""

from collections.abc import Collection

from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.tasks import TASKS

NAMES = ('accuracy', 'top_5', 'nll', 'brier', 'ece', 'auroc')  # of classification


def exit_metrics(
  split: Predicted, with_intervals: Collection[str] | None = None
) -> dict[str, Interval]:
  """Computes all metrics of every exit, those of the task of the predictions.

  Args:
    split: predictions of one split.
    with_intervals: names of the metrics that get an interval, None for all; resamples take a second
      for each 5,000 examples. The others have nan as interval.

  Returns:
    for each metric its value and 95 % interval, float64 [exits] each; see `Task.metrics`.

  Raises:
    UserError: an output is not a finite number.
  """
  return TASKS[split.task].metrics(split.logits, split.labels, with_intervals)
