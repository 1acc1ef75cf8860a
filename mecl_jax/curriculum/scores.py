"""Difficulty scores: pure functions of a teacher's logits or training record; larger is harder.

The logits are those of images without augmentation, in evaluation mode. All measures of logits
distinguish predictions whose highest probability rounds to 1.
"""

from collections.abc import Callable

import numpy as np


def confidence(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns one minus the probability of the label.

  Examples:
    >>> logits = np.array([[0.0, 0.0], [0.0, np.log(3)]])
    >>> confidence(logits, np.array([1, 1])).round(2).tolist()
    [0.5, 0.25]

  Args:
    logits: float [N, classes].
    labels: int [N].

  Returns:
    float64 [N], in [0, 1].

  References:
    Hacohen and Weinshall, "On The Power of Curriculum Learning in Training Deep Networks", ICML
    2019, arXiv 1904.03626.
  """
  return _others(logits, labels).sum(axis=-1)


def loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the cross-entropy.

  It ranks examples as `confidence` does, except where the scores of several networks are averaged.

  Args:
    logits: float [N, classes].
    labels: int [N].

  Returns:
    float64 [N], in nats.
  """
  return -np.take_along_axis(_log_probabilities(logits), labels[:, None], axis=-1)[:, 0]


def margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns 1 - (probability of the label - highest probability of another class).

  Args:
    logits: float [N, classes].
    labels: int [N].

  Returns:
    float64 [N], in [0, 2].
  """
  others = _others(logits, labels)
  return others.sum(axis=-1) + others.max(axis=-1)


def entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the entropy of the predicted distribution.

  Args:
    logits: float [N, classes].
    labels: not used; all measures have the same arguments.

  Returns:
    float64 [N], in nats.
  """
  del labels
  log_probabilities = _log_probabilities(logits)
  return -(np.exp(log_probabilities) * log_probabilities).sum(axis=-1)


def contradicted(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns whether another class than the label is predicted.

  Args:
    logits: float [N, classes].
    labels: int [N].

  Returns:
    bool [N].
  """
  return logits.argmax(axis=-1) != labels


# Measures of the logits of one exit.
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
  'confidence': confidence,
  'loss': loss,
  'margin': margin,
  'entropy': entropy,
}


def prediction_depth(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the first exit from which all later exits predict the same class.

  Examples with the same exit are ranked by the `confidence` of the last exit.

  Args:
    logits: float [N, exits, classes], earliest exit first.
    labels: int [N].

  Returns:
    float64 [N], the index of that exit, from 0, plus a rank in [0, 1).

  References:
    Baldock, Maennel and Neyshabur, "Deep Learning Through the Lens of Example Difficulty", NeurIPS
    2021, arXiv 2106.09647. The paper uses nearest-neighbour probes instead of exits.
  """
  predicted = logits.argmax(axis=-1)
  differs = predicted != predicted[:, -1:]
  depth = differs.shape[1] - differs[:, ::-1].argmax(axis=1)  # the exit after the last difference
  depth[~differs.any(axis=1)] = 0
  rank = np.argsort(np.argsort(confidence(logits[:, -1], labels), kind='stable'))
  return depth + rank / len(labels)


def learned_epoch(learned: np.ndarray, errors: np.ndarray, epochs: int) -> np.ndarray:
  """Returns the first epoch from which the predictions of an example are always right.

  Examples with the same epoch are ranked by the number of epochs with a wrong prediction.

  Args:
    learned: int [N], that epoch, from 0; `epochs` if the last prediction was wrong.
    errors: int [N], number of epochs with a wrong prediction.
    epochs: number of recorded epochs.

  Returns:
    float64 [N].

  References:
    Wu, Dyer and Neyshabur, "When Do Curricula Work?", ICLR 2021, arXiv 2012.03107.
  """
  return learned + errors / (epochs + 1)


def cumulative_errors(learned: np.ndarray, errors: np.ndarray, epochs: int) -> np.ndarray:
  """Returns the share of epochs with a wrong prediction.

  Args:
    learned: not used; see `learned_epoch`.
    errors: int [N], number of epochs with a wrong prediction.
    epochs: number of recorded epochs.

  Returns:
    float64 [N], in [0, 1].

  References:
    Jiang et al., "Characterizing Structural Regularities of Labeled Data in Overparameterized
    Models", ICML 2021, arXiv 2002.03206.
  """
  del learned
  return errors / epochs


# Measures of the record that a training run keeps for the teacher 'learning_speed'.
SPEEDS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
  'learned_epoch': learned_epoch,
  'cumulative_errors': cumulative_errors,
}

# Measures that each teacher supports; the first is the default, curriculum.measure=auto.
MEASURES_OF_TEACHER: dict[str, tuple[str, ...]] = {
  'final_exit': tuple(MEASURES),
  'self_taught': tuple(MEASURES),
  'checkpoint': tuple(MEASURES),
  'transfer': tuple(MEASURES),
  'cross_validated': ('loss', *(measure for measure in MEASURES if measure != 'loss')),
  'learning_speed': tuple(SPEEDS),
  'prediction_depth': ('depth',),
  'file': ('score',),
}


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
  """Returns the log-softmax in float64, exact also where the highest probability rounds to 1."""
  logits = logits.astype(np.float64)
  largest = logits.argmax(axis=-1)[..., None]
  shifted = logits - np.take_along_axis(logits, largest, axis=-1)
  rest = np.exp(shifted)
  np.put_along_axis(rest, largest, 0, axis=-1)
  return shifted - np.log1p(rest.sum(axis=-1, keepdims=True))


def _others(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns the probabilities [N, classes], with 0 in place of the probability of the label."""
  probabilities = np.exp(_log_probabilities(logits))
  np.put_along_axis(probabilities, labels[:, None], 0, axis=-1)
  return probabilities
