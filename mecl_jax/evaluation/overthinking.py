"""Overthinking: what earlier exits knew and later ones lost, and what exits know together.

Logits are [N, exits, classes], earliest exit first; labels are int [N].

References:
  Kaya, Hong and Dumitras, "Shallow-Deep Networks: Understanding and Mitigating Network
  Overthinking", ICML 2019, arXiv 1810.07052.
"""

from typing import NamedTuple

import numpy as np

from mecl_jax.evaluation import metrics


def first_correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The first exit that is right, int [N]; the number of exits where none is."""
  right = metrics.correct(logits, labels)
  return np.where(right.any(axis=1), right.argmax(axis=1), right.shape[1])


def first_correct_counts(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """How many examples each exit is the first to get right, int [exits + 1]; the last: never."""
  return np.bincount(first_correct(logits, labels), minlength=logits.shape[1] + 1)


class Shares(NamedTuple):
  """Shares of all examples, 0..1."""

  oracle: float  # some exit is right: the accuracy of one who knew which exit to ask
  last: float  # the last exit is right
  wasteful: float  # an exit before the last is right; the destructive ones are among these
  destructive: float  # an exit before the last is right, and the last is wrong


def shares(logits: np.ndarray, labels: np.ndarray) -> Shares:
  """How often a network overthinks; oracle = last + destructive.

  The paper gives the destructive share among the errors of the last exit: destructive / (1 - last).
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
  """Share of examples for which two exits predict the same class, float64 [exits, exits]."""
  predicted = metrics.checked(logits).argmax(axis=-1)
  return (predicted[:, :, None] == predicted[:, None, :]).mean(axis=0)


class CoErrors(NamedTuple):
  """Errors of two exits on the same example, float64 [exits, exits] each."""

  share: np.ndarray  # both are wrong, 0..1; the diagonal holds the exits' own error rates
  # That share over the product of the two error rates: 1 if the errors were independent, above 1 if
  # they come together; nan beside an exit without errors.
  ratio: np.ndarray


def co_errors(logits: np.ndarray, labels: np.ndarray) -> CoErrors:
  """How often two exits are wrong together, absolutely and relative to independent errors."""
  wrong = (~metrics.correct(logits, labels)).astype(np.float64)
  share = wrong.T @ wrong / len(wrong)
  rates = np.diag(share)
  with np.errstate(invalid='ignore'):
    return CoErrors(share, share / np.outer(rates, rates))


def running_mean(logits: np.ndarray) -> np.ndarray:
  """Ensembles of the exits so far by the arithmetic mean of their probabilities.

  Returns:
    Log probabilities, float64 [N, exits, classes]: logits to every other function here.
  """
  exits = logits.shape[1]
  summed = np.logaddexp.accumulate(metrics.log_softmax(logits), axis=1)
  return summed - np.log(np.arange(1, exits + 1))[:, None]


def running_geometric_mean(logits: np.ndarray) -> np.ndarray:
  """Ensembles of the exits so far by the normalised geometric mean of their probabilities.

  Returns:
    Log probabilities, float64 [N, exits, classes]: logits to every other function here.
  """
  exits = logits.shape[1]
  summed = metrics.log_softmax(logits).cumsum(axis=1)
  return metrics.log_softmax(summed / np.arange(1, exits + 1)[:, None])
