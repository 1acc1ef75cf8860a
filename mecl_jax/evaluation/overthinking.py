"""Overthinking: examples that an earlier exit predicts right, and ensembles of exits.

Logits are float [N, exits, classes], earliest exit first; labels are int [N]. All functions raise
UserError if a logit is not a finite number.

References:
  Kaya, Hong and Dumitras, "Shallow-Deep Networks: Understanding and Mitigating Network
  Overthinking", ICML 2019, arXiv 1810.07052.
"""

from typing import NamedTuple

import numpy as np

from mecl_jax.evaluation import metrics


def first_correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the first exit that is right, int [N]; the number of exits if none is."""
  right = metrics.correct(logits, labels)
  return np.where(right.any(axis=1), right.argmax(axis=1), right.shape[1])


def first_correct_counts(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Counts the examples for which each exit is the first that is right; the last entry: no exit.

  Returns:
    int [exits + 1].
  """
  return np.bincount(first_correct(logits, labels), minlength=logits.shape[1] + 1)


class Shares(NamedTuple):
  """Shares of all examples, 0..1.

  Attributes:
    oracle: some exit is right; the accuracy if the best exit were known for each example.
    last: the last exit is right.
    wasteful: an exit before the last is right; includes the destructive ones.
    destructive: an exit before the last is right, and the last is wrong.
  """

  oracle: float
  last: float
  wasteful: float
  destructive: float


def shares(logits: np.ndarray, labels: np.ndarray) -> Shares:
  """Computes how often a network overthinks; oracle = last + destructive.

  The paper reports the destructive share among the errors of the last exit, which is
  destructive / (1 - last).
  """
  right = metrics.correct(logits, labels)
  early, last = right[:, :-1].any(axis=1), right[:, -1]
  return Shares(
    oracle=float((early | last).mean()),
    last=float(last.mean()),
    wasteful=float(early.mean()),
    destructive=float((early & ~last).mean()),
  )


def agreement(logits: np.ndarray) -> np.ndarray:
  """Returns the share of examples where two exits predict one class, float64 [exits, exits]."""
  predicted = metrics.checked(logits).argmax(axis=-1)
  return (predicted[:, :, None] == predicted[:, None, :]).mean(axis=0)


class CoErrors(NamedTuple):
  """Errors of two exits on the same example, float64 [exits, exits] each.

  Attributes:
    share: both exits are wrong, 0..1; the diagonal has the error rate of each exit.
    ratio: the share divided by the product of the two error rates: 1 for independent errors, above
      1 if they occur together; nan for an exit without errors.
  """

  share: np.ndarray
  ratio: np.ndarray


def co_errors(logits: np.ndarray, labels: np.ndarray) -> CoErrors:
  """Computes how often two exits are wrong on the same example."""
  wrong = (~metrics.correct(logits, labels)).astype(np.float64)
  share = wrong.T @ wrong / len(wrong)
  rates = np.diag(share)
  with np.errstate(invalid='ignore'):
    return CoErrors(share, share / np.outer(rates, rates))


def running_mean(logits: np.ndarray) -> np.ndarray:
  """Computes ensembles of the exits so far, by the arithmetic mean of their probabilities.

  Returns:
    log probabilities, float64 [N, exits, classes], which all other functions accept as logits.
  """
  exits = logits.shape[1]
  summed = np.logaddexp.accumulate(metrics.log_softmax(logits), axis=1)
  return summed - np.log(np.arange(1, exits + 1))[:, None]


def running_geometric_mean(logits: np.ndarray) -> np.ndarray:
  """Computes ensembles of the exits so far, by the normalised geometric mean of probabilities.

  Returns:
    log probabilities, float64 [N, exits, classes], which all other functions accept as logits.
  """
  exits = logits.shape[1]
  summed = metrics.log_softmax(logits).cumsum(axis=1)
  return metrics.log_softmax(summed / np.arange(1, exits + 1)[:, None])
