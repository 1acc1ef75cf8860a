"""Difficulty scores: pure functions of what a teacher said; larger is harder.

Logits are those of images that are not augmented, in evaluation mode. Very sure predictions, whose
probability rounds to 1, still differ in `confidence`, `loss`, `margin` and `entropy`.
"""

from collections.abc import Callable

import numpy as np


def confidence(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """One minus the probability of the true class (the transfer teacher's score).

  Args:
    logits: [N, classes].
    labels: int [N].

  Returns:
    float64 [N] in [0, 1].

  References:
    Hacohen and Weinshall, ICML 2019, arXiv 1904.03626.
  """
  return _others(logits, labels).sum(axis=-1)


def loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Cross-entropy in nats, float64 [N]; ranks as `confidence` does, unless several are averaged."""
  return -np.take_along_axis(_log_probabilities(logits), labels[:, None], axis=-1)[:, 0]


def margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """One minus (probability of the true class - largest of the others), float64 [N] in [0, 2]."""
  others = _others(logits, labels)
  return others.sum(axis=-1) + others.max(axis=-1)


def entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Entropy of the prediction in nats, float64 [N]; the labels are not looked at."""
  del labels
  log_probabilities = _log_probabilities(logits)
  return -(np.exp(log_probabilities) * log_probabilities).sum(axis=-1)


# What a teacher's logits are boiled down to.
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
  'confidence': confidence,
  'loss': loss,
  'margin': margin,
  'entropy': entropy,
}


def prediction_depth(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """The first exit from which on all exits predict the same class; ties by the last's confidence.

  Args:
    logits: [N, exits, classes], earliest exit first.
    labels: int [N].

  Returns:
    float64 [N]: the index of that exit, from 0, plus a rank by `confidence` in [0, 1).

  References:
    Baldock, Maennel and Neyshabur, NeurIPS 2021, arXiv 2106.09647, with exits in the place of
    nearest-neighbour probes.
  """
  predicted = logits.argmax(axis=-1)
  differs = predicted != predicted[:, -1:]
  depth = differs.shape[1] - differs[:, ::-1].argmax(axis=1)  # one after the last that differs
  depth[~differs.any(axis=1)] = 0
  rank = np.argsort(np.argsort(confidence(logits[:, -1], labels), kind='stable'))
  return depth + rank / len(labels)


def learned_epoch(learned: np.ndarray, errors: np.ndarray, epochs: int) -> np.ndarray:
  """The first epoch from which on an example was always right; ties by how often it was wrong.

  Args:
    learned: int [N], that epoch, from 0; `epochs` where the last one was wrong.
    errors: int [N], epochs in which it was wrong.
    epochs: that were watched.

  Returns:
    float64 [N].

  References:
    Wu, Dyer and Neyshabur, ICLR 2021, arXiv 2012.03107.
  """
  return learned + errors / (epochs + 1)


def cumulative_errors(learned: np.ndarray, errors: np.ndarray, epochs: int) -> np.ndarray:
  """One minus the cumulative correctness (Jiang et al., ICML 2021, arXiv 2002.03206); [N].

  Args: as of `learned_epoch`.
  """
  del learned
  return errors / epochs


# What the record of a training is boiled down to.
SPEEDS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
  'learned_epoch': learned_epoch,
  'cumulative_errors': cumulative_errors,
}


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
  """Log-softmax in float64, such that the largest probability keeps its distance from 1."""
  logits = logits.astype(np.float64)
  largest = logits.argmax(axis=-1)[..., None]
  shifted = logits - np.take_along_axis(logits, largest, axis=-1)
  rest = np.exp(shifted)
  np.put_along_axis(rest, largest, 0, axis=-1)
  return shifted - np.log1p(rest.sum(axis=-1, keepdims=True))


def _others(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Probabilities [N, classes] with that of the true class set to 0."""
  probabilities = np.exp(_log_probabilities(logits))
  np.put_along_axis(probabilities, labels[:, None], 0, axis=-1)
  return probabilities
