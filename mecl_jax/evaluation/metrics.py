"""What the predictions of an exit are worth: pure functions of logits and labels.

All take logits [N, classes] and labels int [N] and compute in float64.
"""

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Log probabilities, float64 [N, classes]."""
  logits = logits.astype(np.float64)
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
  """Share of examples whose largest logit is the label's, 0..1."""
  return float((logits.argmax(axis=-1) == labels).mean())


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
  """Share of examples with fewer than `k` logits above the label's, 0..1."""
  of_label = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=-1)
  return float(((logits > of_label).sum(axis=-1) < k).mean())


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
  """Mean negative log likelihood of the labels, in nats."""
  return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def ece(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
  """Expected calibration error over equally wide bins of the top probability, 0..1.

  References:
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599.
  """
  confidence = np.exp(log_softmax(logits).max(axis=-1))
  correct = logits.argmax(axis=-1) == labels
  bin_ = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
  gap = np.bincount(bin_, correct - confidence, minlength=bins)  # count * (accuracy - confidence)
  return float(np.abs(gap).sum() / len(labels))
