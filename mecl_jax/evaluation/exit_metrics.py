"""Metrics of every exit with their bootstrap intervals, for summary.json and the tables."""

from collections.abc import Collection

import numpy as np

from mecl_jax.evaluation import intervals, metrics
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.predictions import Predicted

TOP_5_FROM = 20  # classes; with fewer, top-5 accuracy says little
NAMES = ('accuracy', 'top_5', 'nll', 'brier', 'ece', 'auroc')


def exit_metrics(split: Predicted, with_intervals: Collection[str] = NAMES) -> dict[str, Interval]:
  """Computes all metrics of every exit.

  Args:
    split: predictions of one split.
    with_intervals: names of the metrics to draw resamples for, which takes a second for each 5,000
      examples; the others have nan as interval.

  Returns:
    for each metric its value and 95 % bootstrap interval, float64 [exits] each: accuracy, top-5
    accuracy (from 20 classes), negative log likelihood in nats, Brier score, expected calibration
    error and AUROC. An AUROC is nan at an exit that is always right or always wrong.

  Raises:
    UserError: a logit is not a finite number.
  """
  logits, labels = split.logits, split.labels
  values = {
    'accuracy': metrics.accuracy,
    'top_5': metrics.top_k_accuracy,
    'nll': metrics.nll,
    'brier': metrics.brier,
    'ece': metrics.ece,
    'auroc': metrics.auroc,
  }
  if logits.shape[-1] < TOP_5_FROM:
    del values['top_5']
  drawn = _intervals(split, [name for name in values if name in with_intervals])
  unknown = np.full(split.exits, np.nan)
  found = {}
  for name, metric in values.items():
    of_exits = np.array([metric(logits[:, k], labels) for k in range(split.exits)])
    _, low, high = drawn.get(name, (None, unknown, unknown))
    found[name] = Interval(of_exits, low, high)
  return found


def _intervals(split: Predicted, names: Collection[str]) -> dict[str, Interval]:
  per_example = {
    'accuracy': metrics.correct,
    'top_5': metrics.in_top_k,
    'nll': metrics.losses,
    'brier': metrics.squared_errors,
  }
  means = [name for name in names if name in per_example]
  found = {}
  if means:
    # All at once: drawing the resamples takes longer than weighting values with them.
    values = np.stack([per_example[name](split.logits, split.labels) for name in means], axis=-1)
    together = intervals.mean_interval(values)
    for place, name in enumerate(means):
      found[name] = Interval(*(part[:, place] for part in together))
  if 'ece' in names:
    found['ece'] = intervals.ece_interval(split.logits, split.labels)
  if 'auroc' in names:
    found['auroc'] = intervals.auroc_interval(split.logits, split.labels)
  return found
