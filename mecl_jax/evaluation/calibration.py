"""Temperature scaling: one temperature per exit, fitted on the validation split."""

import dataclasses
from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.calibration_error import ece
from mecl_jax.evaluation.predictions import Predicted

LOWEST, HIGHEST = 0.05, 20.0  # range of the search


def fit(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Fits the temperature of each exit that minimises the NLL.

  The NLL has a single minimum, since it is convex in the inverse of the temperature. The minimum
  lies at 0 for an exit that is right on every example, and at infinity for an exit whose logit of
  the label is below the mean of the logits on average. Such exits get exactly 0.05 or 20, the ends
  of the search. Where no temperature is better than 1 (all logits equal, or an NLL that rounds to
  0), the result is 1.

  Args:
    logits: float [N, exits, classes], of the validation split.
    labels: int [N].

  Returns:
    float64 [exits].

  Raises:
    UserError: there are no examples, or a logit is not a finite number.

  References:
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
  """
  if not len(labels):
    raise UserError('temperatures need validation examples; --mode=evaluate predicts them again')
  metrics.checked(logits)
  return np.array([_temperature(logits[:, k], labels) for k in range(logits.shape[1])])


def apply(temperatures: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """Divides logits by the temperature of their exit, which leaves predicted classes unchanged.

  Args:
    temperatures: float [exits].
    logits: float [N, exits, classes].

  Returns:
    float64 [N, exits, classes].

  Raises:
    UserError: the temperatures are for another number of exits.
  """
  if len(temperatures) != logits.shape[1]:
    raise UserError(
      f'there are {len(temperatures)} temperatures and {logits.shape[1]} exits; '
      'fit them on the same network'
    )
  return logits.astype(np.float64) / np.asarray(temperatures, np.float64)[:, None]


def scaled(temperatures: np.ndarray, split: Predicted) -> Predicted:
  """Returns a split with the logits divided by their temperatures, see `apply`."""
  return dataclasses.replace(split, logits=apply(temperatures, split.logits))


class Effect(NamedTuple):
  """Metrics before and after temperatures, float64 [exits] each; NLL in nats, debiased ECE."""

  nll_before: np.ndarray
  nll_after: np.ndarray
  ece_before: np.ndarray
  ece_after: np.ndarray
  brier_before: np.ndarray
  brier_after: np.ndarray
  auroc_before: np.ndarray
  auroc_after: np.ndarray


def effect(temperatures: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Effect:
  """Computes the metrics of every exit before and after temperature scaling.

  Args:
    temperatures: float [exits].
    logits: float [N, exits, classes].
    labels: int [N].

  Raises:
    UserError: the temperatures are for another number of exits.
  """
  before_and_after = (logits, apply(temperatures, logits))
  return Effect(
    *(
      np.array([metric(z[:, k], labels) for k in range(z.shape[1])])
      for metric in (metrics.nll, ece, metrics.brier, metrics.auroc)
      for z in before_and_after
    )
  )


def _temperature(logits: np.ndarray, labels: np.ndarray) -> float:
  """Returns the best temperature of one exit, logits [N, classes]."""
  from scipy.optimize import minimize_scalar  # imported here: it takes a second

  shifted = logits.astype(np.float64)
  shifted -= shifted.max(axis=-1, keepdims=True)
  of_label = shifted[np.arange(len(labels)), labels].mean()

  def loss(temperature: float) -> float:
    return float(np.log(np.exp(shifted / temperature).sum(axis=-1)).mean() - of_label / temperature)

  found = minimize_scalar(
    lambda logarithm: loss(np.exp(logarithm)),
    bounds=np.log((LOWEST, HIGHEST)),
    method='bounded',
    options={'xatol': 1e-6},
  )
  # The search does not try its ends. Among equal losses, the first is taken.
  return min((1.0, LOWEST, HIGHEST, float(np.exp(found.x))), key=loss)
