"""Multi-label classification: each image has any number of labels, independent of each other.

Outputs are the log odds of the labels; a label is predicted where its probability is above 0.5.
"""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np
import optax

from mecl_jax.evaluation import intervals
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.metrics import checked
from mecl_jax.evaluation.tasks.task import ExitLogits, LossSettings, Shown, Task

MAP_RESAMPLES = 200  # each sorts all images, for every label and exit


def losses(outputs: jax.Array, labels: jax.Array, settings: LossSettings) -> jax.Array:
  """Returns the mean over the labels of the sigmoid cross-entropy.

  Args:
    outputs: [batch, exits, labels], log odds.
    labels: 0 or 1, [batch, labels].
    settings: not used.

  Returns:
    [batch, exits], in nats.
  """
  del settings
  targets = labels[:, None].astype(outputs.dtype)
  return optax.sigmoid_binary_cross_entropy(outputs, targets).mean(axis=-1)


def label_accuracy(outputs: Any, labels: Any) -> Any:
  """Returns the share of the labels whose value is predicted, [batch, exits]."""
  return ((outputs > 0) == (labels[:, None] > 0)).mean(axis=-1)


def confidence(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns one minus the mean probability of the right value, over the labels.

  Args:
    outputs: float [N, labels], log odds.
    labels: 0 or 1, [N, labels].

  Returns:
    float64 [N], in [0, 1].
  """
  return np.exp(-np.logaddexp(0, _signed(outputs, labels))).mean(axis=-1)


def loss(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the mean cross-entropy over the labels, float64 [N], in nats; see `confidence`."""
  return np.logaddexp(0, -_signed(outputs, labels)).mean(axis=-1)


def _signed(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the log odds of the right values, float64 [N, labels]."""
  return np.where(labels > 0, 1.0, -1.0) * outputs.astype(np.float64)


def certainty(last: ExitLogits) -> Any:
  """Returns the mean of |2 p - 1| over the labels, in [0, 1], with the probability p of a label.

  If the probabilities are calibrated, (1 + certainty) / 2 is the expected share of labels that are
  predicted right, by which policies are judged. With one label of two classes it is the `margin`.
  """
  return np.abs(np.tanh(last.outputs()[-1] / 2)).mean(axis=-1)


def average_precision(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Computes the average precision of a label: the mean precision at the ranks of its positives.

  Args:
    scores: float [N].
    positive: bool [N].
    counts: float [resamples, N], how often each example is in a resample.

  Returns:
    float64 [resamples]; nan without positives. Equal scores are one rank, as in scikit-learn.
  """
  order = np.argsort(-scores, kind='stable')
  counts, hits = counts[:, order], counts[:, order] * positive[order]
  last = np.append(np.diff(scores[order]) != 0, True)  # of examples with equal scores
  found, taken = (np.cumsum(part, axis=1)[:, last] for part in (hits, counts))
  gained = np.diff(found, axis=1, prepend=0)
  with np.errstate(invalid='ignore', divide='ignore'):
    precision = np.where(taken > 0, found / taken, 0.0)
    return (gained * precision).sum(axis=1) / found[:, -1]


def metrics(
  outputs: np.ndarray, labels: np.ndarray, with_intervals: Collection[str] | None = None
) -> dict[str, Interval]:
  """Computes all metrics of every exit.

  Args:
    outputs: float [N, exits, labels], log odds.
    labels: 0 or 1, [N, labels].
    with_intervals: names of the metrics that get an interval, None for all; the others have nan.

  Returns:
    for each metric its value and 95 % interval, float64 [exits] each: `label_accuracy`, the share
    of right labels; `map`, the mean over the labels that have positives of their average precision;
    `f1`, F1 over all labels and examples together; `exact_match`, the share of examples of which
    all labels are right.

  Raises:
    UserError: an output is not a finite number, or there are no examples.
  """
  predicted, actual = checked(outputs) > 0, labels[:, None] > 0
  hits, named = (predicted & actual).sum(axis=-1), predicted.sum(axis=-1) + actual.sum(axis=-1)

  def mean_average_precision(counts: np.ndarray) -> np.ndarray:
    found = [
      [average_precision(outputs[:, k, c], labels[:, c] > 0, counts) for c in _occurring(labels)]
      for k in range(outputs.shape[1])
    ]  # [exits, labels, resamples]
    values = np.array(found).reshape(outputs.shape[1], -1, len(counts))
    known = ~np.isnan(values)
    with np.errstate(invalid='ignore'):
      return (np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)).T

  def f1(counts: np.ndarray) -> np.ndarray:
    with np.errstate(invalid='ignore'):
      return 2 * (counts @ hits) / (counts @ named)

  n, shares = len(labels), label_accuracy(outputs, labels)
  made = {
    'label_accuracy': lambda drawn: intervals.mean_interval(shares, resamples=drawn),
    'map': lambda drawn: intervals.bootstrap(
      mean_average_precision, n, resamples=min(drawn, MAP_RESAMPLES)
    ),
    'f1': lambda drawn: intervals.bootstrap(f1, n, resamples=drawn),
    'exact_match': lambda _: intervals.proportion_interval((predicted == actual).all(axis=-1)),
  }
  return intervals.of_metrics(made, with_intervals)


def _occurring(labels: np.ndarray) -> list[int]:
  return np.flatnonzero((labels > 0).any(axis=0)).tolist()


def from_features(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Fits a logistic regression per label to standardised features [N, F]; returns its log odds."""
  # Importing scikit-learn takes a second, and only the teacher `transfer` needs it.
  from sklearn.linear_model import LogisticRegression
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  found = np.empty(labels.shape)
  for label, of_label in enumerate(labels.T):
    if of_label.min() == of_label.max():
      found[:, label] = np.where(of_label > 0, 1.0, -1.0) * np.log(len(labels) + 1)
      continue
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    found[:, label] = model.fit(features, of_label).decision_function(features)
  return found


def words(values: np.ndarray, names: Sequence[str]) -> str:
  """Returns the names of the labels that an image has, from log odds or labels."""
  return ', '.join(name for name, value in zip(names, values, strict=True) if value > 0) or 'none'


MULTI_LABEL = Task(
  name='multi_label',
  labels='binary',
  losses=losses,
  quality=label_accuracy,
  measures={'confidence': confidence, 'loss': loss},
  contradicted=None,
  confidences={'certainty': certainty},
  learned=None,
  metrics=metrics,
  shown=Shown('label_accuracy', 'label accuracy', 'label accuracy'),
  from_features=from_features,
  outputs='labels',
  words=words,
  frame='a wrong label',
  about="""Label accuracy is the share of labels whose value is predicted, at a probability of 0.5.
mAP is the average precision, the mean over the labels. F1 is the harmonic mean of precision and
recall, of all labels together. An exact match has all labels right. All are best at 100 %.""",
)
