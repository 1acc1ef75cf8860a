import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score, top_k_accuracy_score

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics
from mecl_jax.evaluation.calibration_error import ece

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


def test_nll_of_large_logits():
  assert metrics.nll(np.array([[1e4, 0.0]]), np.array([1])) == pytest.approx(1e4)


def test_brier_agrees_with_scikit_learn():
  expected = brier_score_loss(LABELS, PROBABILITIES, labels=np.arange(10), scale_by_half=False)
  assert metrics.brier(LOGITS, LABELS) == pytest.approx(expected, rel=1e-6)


def test_brier_of_confident_predictions():
  logits = np.array([[50.0, 0.0, 0.0]] * 4)
  assert metrics.brier(logits, np.zeros(4, int)) == pytest.approx(0, abs=1e-12)
  assert metrics.brier(logits, np.ones(4, int)) == pytest.approx(2)


@pytest.mark.parametrize('digits', [0, 1, 6], ids=['many ties', 'ties', 'hardly a tie'])
def test_auroc_agrees_with_scikit_learn(digits):
  logits = np.round(LOGITS, digits)
  expected = roc_auc_score(logits.argmax(1) == LABELS, metrics.confidence(logits))
  # Rounding makes other ties of probabilities than of odds, where these are very close.
  assert metrics.auroc(logits, LABELS) == pytest.approx(expected, abs=1e-4)


def test_auroc_counts_pairs_and_ties_half():
  logits = np.array([[3.0, 0], [2, 0], [2, 0], [1, 0], [0, 2]])
  labels = np.array([0, 1, 0, 1, 1])  # right at 3, 2 and 2, wrong at 2 and 1
  assert metrics.auroc(logits, labels) == pytest.approx((1 + 0.5 + 0.5 + 3) / 6)


def test_auroc_separates_confidences_that_round_to_one():
  logits = np.array([[60.0, 0], [50, 0], [40, 0]])
  assert (metrics.confidence(logits) == 1).all()
  assert metrics.auroc(logits, np.array([0, 0, 1])) == 1
  assert metrics.auroc(logits, np.array([1, 0, 0])) == 0


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('label', [0, 1], ids=['all right', 'all wrong'])
def test_auroc_needs_right_and_wrong(label):
  assert np.isnan(metrics.auroc(np.array([[3.0, 0], [2, 0]]), np.full(2, label)))


def test_negated_odds_rank_as_confidence_does():
  order = np.argsort(metrics.negated_odds(LOGITS))
  assert (np.diff(metrics.confidence(LOGITS)[order]) > -1e-15).all()


def test_log_softmax_agrees_with_scipy():
  np.testing.assert_allclose(
    metrics.log_softmax(LOGITS), log_softmax(LOGITS.astype(float), axis=-1), atol=1e-12
  )


PER_EXAMPLE = [
  metrics.correct,
  metrics.in_top_k,
  metrics.losses,
  metrics.squared_errors,
  lambda logits, labels: metrics.confidence(logits),
  lambda logits, labels: metrics.negated_odds(logits),
]


@pytest.mark.parametrize('function', PER_EXAMPLE)
def test_values_of_all_exits_agree_with_each(function):
  logits = np.stack([LOGITS, LOGITS[::-1], 0.1 * LOGITS], axis=1)
  values = function(logits, LABELS.astype(np.uint8))
  assert values.shape == (500, 3)
  for k in range(3):
    np.testing.assert_array_equal(values[:, k], function(logits[:, k].copy(), LABELS))


NUMBERS = [
  metrics.accuracy,
  metrics.top_k_accuracy,
  metrics.nll,
  metrics.brier,
  ece,
  metrics.auroc,
]


@pytest.mark.parametrize('function', NUMBERS)
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_rejected(function, value):
  logits = LOGITS.copy()
  logits[[7, 7, 9], [1, 2, 3]] = value
  with pytest.raises(UserError, match='2 of 500 examples are not finite'):
    function(logits, LABELS)
