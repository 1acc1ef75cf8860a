"""Temperature scaling: one temperature per exit, fitted on validation."""

from typing import NamedTuple

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.predictions import Predicted

LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are tried


def fit(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The temperature of each exit with the least NLL on these, the validation, examples.

  The NLL has one minimum in the temperature, as it is convex in its inverse. An exit that is right
  on every example is best at 0, one that knows less than nothing (the label's logit is below the
  mean of the logits, on average) at infinity: these get exactly 0.05 and 20, the ends of the
  search. Where nothing is better than 1 (all logits equal, an NLL that rounds to 0), it is 1.

  Args:
    logits: [N, exits, classes].
    labels: int [N].

  Returns:
    Temperatures, float64 [exits].

  Raises:
    UserError: there are no examples, or logits are not finite.

  References:
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
  """
  if not len(labels):
    raise UserError('temperatures need validation examples; --mode=evaluate predicts them anew')
  metrics.checked(logits)
  return np.array([_temperature(logits[:, k], labels) for k in range(logits.shape[1])])


def apply(temperatures: np.ndarray, logits: np.ndarray) -> np.ndarray:
  """Logits over the temperature of their exit; predicted classes stay what they are.

  Args:
    temperatures: [exits].
    logits: [N, exits, classes].

  Returns:
    float64 [N, exits, classes].

  Raises:
    UserError: there are temperatures for another number of exits.
  """
  if len(temperatures) != logits.shape[1]:
    raise UserError(
      f'there are {len(temperatures)} temperatures and {logits.shape[1]} exits; '
      'fit them on the same network'
    )
  return logits.astype(np.float64) / np.asarray(temperatures, np.float64)[:, None]


def scaled(temperatures: np.ndarray, split: Predicted) -> Predicted:
  """The same split with `apply`'s logits."""
  return Predicted(split.name, apply(temperatures, split.logits), split.labels)


class Effect(NamedTuple):
  """Of temperatures on each exit, float64 [exits] each; NLL in nats, ECE over 15 bins."""

  nll_before: np.ndarray
  nll_after: np.ndarray
  ece_before: np.ndarray
  ece_after: np.ndarray
  brier_before: np.ndarray
  brier_after: np.ndarray
  auroc_before: np.ndarray
  auroc_after: np.ndarray


def effect(temperatures: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Effect:
  """What exits are worth before and after `apply`, whose arguments and errors these are.

  Labels are int [N].
  """
  before_and_after = (logits, apply(temperatures, logits))
  return Effect(
    *(
      np.array([measure(z[:, k], labels) for k in range(z.shape[1])])
      for measure in (metrics.nll, metrics.ece, metrics.brier, metrics.auroc)
      for z in before_and_after
    )
  )


class Reliability(NamedTuple):
  """What confidence is worth in equally wide bins from 0 to 1, [exits, bins] each."""

  examples: np.ndarray  # int
  confidence: np.ndarray  # float64, their mean; nan where there are none, as the accuracy
  accuracy: np.ndarray  # float64


def reliability(logits: np.ndarray, labels: np.ndarray, bins: int = metrics.BINS) -> Reliability:
  """Mean confidence and accuracy of the examples of each bin of the top probability.

  Args:
    logits: [N, exits, classes].
    labels: int [N].
    bins: a bin contains its upper edge.

  Raises:
    UserError: logits are not finite.
  """
  sure, right = metrics.confidence(logits), metrics.correct(logits, labels)
  exits = sure.shape[1]
  cell = (metrics.bin_of(sure, bins) + bins * np.arange(exits)).ravel()

  def per_bin(values: np.ndarray | None) -> np.ndarray:
    return np.bincount(cell, values, exits * bins).reshape(exits, bins)

  examples = per_bin(None)
  with np.errstate(invalid='ignore'):
    return Reliability(
      examples, per_bin(sure.ravel()) / examples, per_bin(right.ravel()) / examples
    )


def _temperature(logits: np.ndarray, labels: np.ndarray) -> float:
  """The best temperature of one exit, logits [N, classes]."""
  from scipy.optimize import minimize_scalar  # a second of start-up, only here

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
  # The search never tries its ends; of equal losses the first wins.
  return min((1.0, LOWEST, HIGHEST, float(np.exp(found.x))), key=loss)
