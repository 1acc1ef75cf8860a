"""Random predictions for tests."""

import numpy as np

from mecl_jax.evaluation.predictions import Predicted


def make(name='validation', n=200, exits=4, classes=5, seed=0, ties=False):
  """Later exits are more accurate, and some examples are hard. With ties, logits are integers."""
  rng = np.random.default_rng((seed, name == 'test'))
  labels = rng.integers(0, classes, n)
  logits = rng.normal(size=(n, 1, classes)) + rng.normal(size=(n, exits, classes))
  signal = np.arange(1, exits + 1) * rng.uniform(0, 1.5, (n, 1))
  logits[np.arange(n), :, labels] += signal
  logits = np.round(logits) if ties else logits
  return Predicted(name, logits.astype(np.float32), labels)


def with_confidence(confidence, classes=2):
  """Validation predictions of class 0 with these largest probabilities, [N, exits]."""
  confidence = np.asarray(confidence, np.float64)
  logits = np.zeros((*confidence.shape, classes))
  logits[..., 0] = np.log(confidence / (1 - confidence))
  return Predicted('validation', logits, np.zeros(len(confidence), int))
