"""Metrics of every exit with their intervals, for summary.json and the tables."""

from collections.abc import Callable, Collection

import numpy as np

from mecl_jax.evaluation import calibration_error, intervals, metrics
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.predictions import Predicted

TOP_5_FROM = 20  # classes; with fewer, top-5 accuracy says little
NAMES = ('accuracy', 'top_5', 'nll', 'brier', 'ece', 'auroc')


def exit_metrics(split: Predicted, with_intervals: Collection[str] = NAMES) -> dict[str, Interval]:
  """Computes all metrics of every exit.

  Args:
    split: predictions of one split.
    with_intervals: names of the metrics that get an interval; NLL and Brier score need resamples,
      which take a second for each 5,000 examples. The others have nan as interval.

  Returns:
    for each metric its value and 95 % interval, float64 [exits] each: accuracy, top-5 accuracy
    (from 20 classes), negative log likelihood in nats, Brier score, debiased expected calibration
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
    'ece': calibration_error.ece,
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
  logits, labels = split.logits, split.labels
  direct: dict[str, Callable[[], Interval]] = {
    'accuracy': lambda: intervals.proportion_interval(metrics.correct(logits, labels)),
    'top_5': lambda: intervals.proportion_interval(metrics.in_top_k(logits, labels)),
    'ece': lambda: calibration_error.ece_interval(logits, labels),
    'auroc': lambda: intervals.auroc_interval(logits, labels),
  }
  found = {name: direct[name]() for name in names if name in direct}
  per_example = {'nll': metrics.losses, 'brier': metrics.squared_errors}
  means = [name for name in names if name in per_example]
  if means:
    # All at once: drawing the resamples takes longer than weighting values with them.
    values = np.stack([per_example[name](logits, labels) for name in means], axis=-1)
    together = intervals.mean_interval(values)
    for place, name in enumerate(means):
      found[name] = Interval(*(part[:, place] for part in together))
  return found
