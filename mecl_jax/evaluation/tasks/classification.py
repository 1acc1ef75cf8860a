"""Classification: each image has one class."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import numpy as np
import optax

from mecl_jax.curriculum import scores
from mecl_jax.evaluation import calibration_error, intervals, metrics
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.tasks.task import ExitLogits, Learned, LossSettings, Shown, Task

TOP_5_FROM = 20  # classes; with fewer, top-5 accuracy says little
PATIENCE, GATE = 'patience', 'gate'


def cross_entropy(
  logits: jax.Array, labels: jax.Array, label_smoothing: float | jax.Array = 0.0
) -> jax.Array:
  """Returns the cross-entropy of every exit.

  Args:
    logits: [batch, exits, classes].
    labels: int [batch].
    label_smoothing: share of the target that is spread evenly over all classes, in [0, 1).

  Returns:
    [batch, exits], in nats.
  """
  targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
  return optax.softmax_cross_entropy(logits, targets[:, None, :].astype(logits.dtype))


def losses(logits: jax.Array, labels: jax.Array, settings: LossSettings) -> jax.Array:
  """Returns `cross_entropy`, [batch, exits]."""
  return cross_entropy(logits, labels, settings.label_smoothing)


def is_right(logits: Any, labels: Any) -> Any:
  """Returns whether the first of the largest logits is the label's, bool [batch, exits]."""
  return logits.argmax(axis=-1) == labels[:, None]


def max_probability(last: ExitLogits) -> Any:
  """Returns the largest probability, in (0, 1].

  References:
    Huang et al., "Multi-Scale Dense Networks", ICLR 2018, arXiv 1703.09844.
  """
  return last.exp(last.largest())


def entropy(last: ExitLogits) -> Any:
  """Returns minus the entropy in nats, at most 0.

  References:
    Teerapittayanon et al., "BranchyNet", ICPR 2016, arXiv 1709.01686.
  """
  return last.total(lambda log_p: last.exp(log_p) * log_p)


def margin(last: ExitLogits) -> Any:
  """Returns the largest probability minus the second largest, in [0, 1]."""
  first, second = last.two_largest()
  return last.exp(first) - last.exp(second)


def patience(last: ExitLogits) -> Any:
  """Returns how many exits in a row, the last one included, predict the class of the last one.

  The threshold is a count t: t exits agree. The patience of the paper counts the agreements between
  them, so it is t - 1.

  References:
    Zhou et al., "BERT Loses Patience", NeurIPS 2020, arXiv 2006.04152.
  """
  predicted, count, same = last.predicted(), 0.0, True
  for earlier in reversed(predicted):
    same = same & (earlier == predicted[-1])
    count = count + same
  return count


def fit_gate(features: np.ndarray, right: np.ndarray) -> tuple[float, ...]:
  """Returns coefficients and intercept from features [N, F] and whether an exit is right, [N]."""
  if right.all() or not right.any():
    return (*[0.0] * features.shape[1], float(np.log((right.sum() + 1) / ((~right).sum() + 1))))
  # Imported here: it takes a second, and only the gate needs it.
  from sklearn.linear_model import LogisticRegression
  from sklearn.preprocessing import StandardScaler

  scaler = StandardScaler().fit(features)
  # Newton's method: exact and fast with so few coefficients.
  model = LogisticRegression(solver='newton-cholesky', tol=1e-9)
  model.fit(scaler.transform(features), right)
  coefficients = model.coef_[0] / scaler.scale_
  return (*coefficients.tolist(), float(model.intercept_[0] - coefficients @ scaler.mean_))


def exit_metrics(
  logits: np.ndarray, labels: np.ndarray, with_intervals: Collection[str] | None = None
) -> dict[str, Interval]:
  """Computes all metrics of every exit.

  Args:
    logits: float [N, exits, classes].
    labels: int [N].
    with_intervals: names of the metrics that get an interval, None for all; NLL and Brier score
      need resamples, which take a second for each 5,000 examples. The others have nan as interval.

  Returns:
    for each metric its value and 95 % interval, float64 [exits] each: accuracy, top-5 accuracy
    (from 20 classes), negative log likelihood in nats, Brier score, debiased expected calibration
    error and AUROC. An AUROC is nan at an exit that is always right or always wrong.

  Raises:
    UserError: a logit is not a finite number.
  """
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
  wanted = values if with_intervals is None else with_intervals
  drawn = _intervals(logits, labels, [name for name in values if name in wanted])
  unknown = np.full(logits.shape[1], np.nan)
  found = {}
  for name, metric in values.items():
    of_exits = np.array([metric(logits[:, k], labels) for k in range(logits.shape[1])])
    _, low, high = drawn.get(name, (None, unknown, unknown))
    found[name] = Interval(of_exits, low, high)
  return found


def _intervals(
  logits: np.ndarray, labels: np.ndarray, names: Collection[str]
) -> dict[str, Interval]:
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


CLASSIFICATION = Task(
  name='classification',
  labels='classes',
  losses=losses,
  quality=is_right,
  measures=scores.MEASURES,
  contradicted=scores.contradicted,
  confidences={
    'max_probability': max_probability,
    'entropy': entropy,
    'margin': margin,
    PATIENCE: patience,
  },
  # A fitted gate names its own features, so a longer list leaves saved gates valid.
  learned=Learned(
    GATE,
    features=('max_probability', 'entropy', 'margin', PATIENCE),
    fit=fit_gate,
    is_probability=True,
  ),
  metrics=exit_metrics,
  shown=Shown('accuracy', 'accuracy', 'accuracy'),
  outputs='classes',
)
