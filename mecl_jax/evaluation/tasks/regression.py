"""Regression: each image has one or several numbers, all in one unit. Counting is regression.

Outputs and labels are in the unit of the targets. Losses divide errors by the standard deviation of
the training targets, so that a learning rate fits whatever the unit is.
"""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np
import optax

from mecl_jax.evaluation import intervals
from mecl_jax.evaluation.intervals import Interval
from mecl_jax.evaluation.metrics import checked
from mecl_jax.evaluation.tasks.task import ExitLogits, Learned, LossSettings, Shown, Task


def losses(outputs: jax.Array, labels: jax.Array, settings: LossSettings) -> jax.Array:
  """Returns the mean over the outputs of the Huber loss of the standardised error.

  Args:
    outputs: [batch, exits, outputs], in the unit of the targets.
    labels: [batch, outputs].
    settings: `huber_delta` and `scale`, by which errors are divided.

  Returns:
    [batch, exits]: e^2 / 2 for errors e up to delta, and delta (e - delta / 2) above.

  References:
    Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.
  """
  errors = (outputs - labels[:, None]) / settings.scale
  return optax.huber_loss(errors, delta=settings.huber_delta).mean(axis=-1)


def minus_error(outputs: Any, labels: Any) -> Any:
  """Returns minus the absolute error, the mean over the outputs, [batch, exits]."""
  return -abs(outputs - labels[:, None]).mean(axis=-1)


def error(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the absolute error, the mean over the outputs.

  Args:
    outputs: float [N, outputs], in the unit of the targets.
    labels: float [N, outputs].

  Returns:
    float64 [N], in the unit of the targets.
  """
  return np.abs(outputs.astype(np.float64) - labels).mean(axis=-1)


def agreement(last: ExitLogits) -> Any:
  """Returns minus the change from the exit before, |prediction - prediction before|, its mean.

  It is minus infinity at the first exit, where no example leaves by this rule.
  """
  return -_change(last) if len(last.outputs()) > 1 else -np.inf + 0 * _value(last)


def _value(last: ExitLogits) -> Any:
  """Returns the prediction of the last exit, the mean over the outputs."""
  return last.outputs()[-1].mean(axis=-1)


def _change(last: ExitLogits) -> Any:
  """Returns the change from the exit before, 0 at the first exit."""
  *before, now = last.outputs()[-2:]
  return np.abs(now - (before[0] if before else now)).mean(axis=-1)


def _spread(last: ExitLogits) -> Any:
  """Returns the range of the predictions of the exits so far, the mean over the outputs."""
  outputs = last.outputs()
  highest, lowest = outputs[0], outputs[0]
  for each in outputs[1:]:
    highest, lowest = np.maximum(highest, each), np.minimum(lowest, each)
  return (highest - lowest).mean(axis=-1)


def fit_error(features: np.ndarray, quality: np.ndarray) -> tuple[float, ...]:
  """Fits a ridge regression of an exit's quality, which is minus its error.

  Args:
    features: float [N, features] of the exit.
    quality: float [N].

  Returns:
    coefficients and, last, the intercept.
  """
  # Imported here: it takes a second, and only this rule needs it.
  from sklearn.linear_model import Ridge
  from sklearn.preprocessing import StandardScaler

  scaler = StandardScaler().fit(features)
  model = Ridge(alpha=1.0).fit(scaler.transform(features), quality)
  coefficients = model.coef_ / scaler.scale_
  return (*coefficients.tolist(), float(model.intercept_ - coefficients @ scaler.mean_))


def metrics(
  outputs: np.ndarray, labels: np.ndarray, with_intervals: Collection[str] | None = None
) -> dict[str, Interval]:
  """Computes all metrics of every exit.

  Args:
    outputs: float [N, exits, outputs], in the unit of the targets.
    labels: float [N, outputs].
    with_intervals: names of the metrics that get an interval, None for all; the others have nan.

  Returns:
    for each metric its value and 95 % interval, float64 [exits] each, of all outputs together:
    `mae`, the mean absolute error; `rmse`, the root of the mean squared error; `r2`, the share of
    the variance that is explained, the mean over the outputs, nan for a target without variance.

  Raises:
    UserError: an output is not a finite number, or there are no examples.
  """
  errors = checked(outputs).astype(np.float64) - labels[:, None]
  centred = labels - labels.mean(axis=0, dtype=np.float64)

  def rmse(counts: np.ndarray) -> np.ndarray:
    return np.sqrt(counts @ (errors**2).mean(axis=-1) / counts.sum(axis=1, keepdims=True))

  def r2(counts: np.ndarray) -> np.ndarray:
    n = counts.sum(axis=1, keepdims=True)
    variance = counts @ centred**2 / n - (counts @ centred / n) ** 2  # [resamples, outputs]
    left = np.tensordot(counts, errors**2, axes=1) / n[:, None]  # [resamples, exits, outputs]
    known = np.where(variance > 0, variance, np.nan)
    return (1 - left / known[:, None]).mean(axis=-1)

  n = len(labels)
  absolute = np.abs(errors).mean(axis=-1)
  made = {
    'mae': lambda drawn: intervals.mean_interval(absolute, resamples=drawn),
    'rmse': lambda drawn: intervals.bootstrap(rmse, n, resamples=drawn),
    'r2': lambda drawn: intervals.bootstrap(r2, n, resamples=drawn),
  }
  return intervals.of_metrics(made, with_intervals)


def from_features(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Fits a ridge regression to standardised features [N, F]; returns its predictions [N, outputs].

  Its strength is chosen by leave-one-out validation.
  """
  # Importing scikit-learn takes a second, and only the teacher `transfer` needs it.
  from sklearn.linear_model import RidgeCV
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
  return model.fit(features, labels).predict(features).reshape(labels.shape)


def words(values: np.ndarray, names: Sequence[str]) -> str:
  """Returns the numbers of an image, as '3.1', with their names if there are several."""
  if len(names) == 1:
    return f'{values[0]:.4g}'
  return ', '.join(f'{name} {value:.4g}' for name, value in zip(names, values, strict=True))


REGRESSION = Task(
  name='regression',
  labels='numbers',
  losses=losses,
  quality=minus_error,
  measures={'error': error},
  contradicted=None,
  confidences={'agreement': agreement},
  hidden={'value': _value, 'change': _change, 'spread': _spread},
  learned=Learned(
    'predicted_error', ('value', 'change', 'spread'), fit=fit_error, is_probability=False
  ),
  metrics=metrics,
  shown=Shown('mae', 'mean absolute error', 'MAE', is_share=False, sign=-1),
  from_features=from_features,
  words=words,
  frame='an error above the mean of the exit',
  about="""MAE is the mean absolute error and RMSE the root of the mean squared error, both in the
unit of the targets; 0 is best. R2 is the share of the variance of the targets that is explained; 1
is perfect, 0 is as good as always predicting their mean.""",
)
