import numpy as np
import pytest
from sklearn.metrics import log_loss, top_k_accuracy_score

from mecl_jax.evaluation import metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(500, 10)).astype(np.float32) * 3
LABELS = np.where(RNG.random(500) < 0.6, LOGITS.argmax(1), RNG.integers(0, 10, 500))
PROBABILITIES = np.exp(metrics.log_softmax(LOGITS))


def test_accuracy():
  assert metrics.accuracy(LOGITS, LABELS) == np.mean(LOGITS.argmax(1) == LABELS)


def test_top_5_agrees_with_scikit_learn():
  expected = top_k_accuracy_score(LABELS, LOGITS, k=5, labels=np.arange(10))
  assert metrics.top_k_accuracy(LOGITS, LABELS) == pytest.approx(expected)


def test_nll_agrees_with_scikit_learn():
  expected = log_loss(LABELS, PROBABILITIES, labels=np.arange(10))
  assert metrics.nll(LOGITS, LABELS) == pytest.approx(expected, rel=1e-6)


def test_nll_stands_large_logits():
  assert metrics.nll(np.array([[1e4, 0.0]]), np.array([1])) == pytest.approx(1e4)


def test_ece_agrees_with_its_definition():
  confidence, correct = PROBABILITIES.max(1), LOGITS.argmax(1) == LABELS
  expected = 0.0
  for low in np.arange(15) / 15:
    inside = (confidence > low) & (confidence <= low + 1 / 15)
    if inside.any():
      expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
  assert metrics.ece(LOGITS, LABELS) == pytest.approx(expected)


def test_ece_of_sure_and_right_is_zero_and_of_sure_and_wrong_is_one():
  logits = np.array([[50.0, 0.0]] * 4)
  assert metrics.ece(logits, np.zeros(4, int)) == pytest.approx(0, abs=1e-12)
  assert metrics.ece(logits, np.ones(4, int)) == pytest.approx(1, abs=1e-12)
