import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, confusion_matrix

from mecl_jax.errors import UserError
from mecl_jax.evaluation import metrics, overthinking

RNG = np.random.default_rng(0)
EXITS, CLASSES = 4, 6
LABELS = RNG.integers(0, CLASSES, 200)
LOGITS = RNG.normal(size=(200, EXITS, CLASSES)).astype(np.float32)
LOGITS[np.arange(200), :, LABELS] += [0.5, 1, 2, 1]
RIGHT = LOGITS.argmax(axis=2) == LABELS[:, None]

# Right at: both, the second only, the first only, none; two of each but for the last.
FEW = np.array([[1, 1], [1, 1], [0, 1], [0, 1], [1, 0], [1, 0], [0, 0]], bool)
FEW_LOGITS = np.stack([FEW, ~FEW], axis=-1).astype(float)
FEW_LABELS = np.zeros(7, int)


def test_shares_and_histogram_by_hand():
  found = overthinking.shares(FEW_LOGITS, FEW_LABELS)
  assert found == pytest.approx((6 / 7, 4 / 7, 4 / 7, 2 / 7))
  assert overthinking.first_correct_counts(FEW_LOGITS, FEW_LABELS).tolist() == [4, 2, 1]


def test_shares_and_histogram_agree_with_loops():
  first = []
  for row in RIGHT:
    first.append(next((k for k in range(EXITS) if row[k]), EXITS))
  np.testing.assert_array_equal(overthinking.first_correct(LOGITS, LABELS), first)
  counts = overthinking.first_correct_counts(LOGITS, LABELS)
  assert counts.tolist() == [first.count(k) for k in range(EXITS + 1)]
  found = overthinking.shares(LOGITS, LABELS)
  assert found.oracle == pytest.approx(np.mean([k < EXITS for k in first]))
  assert found.wasteful == pytest.approx(np.mean([k < EXITS - 1 for k in first]))
  lost = [not row[-1] and any(row[:-1]) for row in RIGHT]
  assert found.destructive == pytest.approx(np.mean(lost))
  assert found.last == metrics.accuracy(LOGITS[:, -1], LABELS)


def test_shares_add_up():
  found, counts = (
    f(LOGITS, LABELS) for f in (overthinking.shares, overthinking.first_correct_counts)
  )
  assert found.oracle == pytest.approx(found.last + found.destructive)
  assert found.wasteful == pytest.approx(counts[:-2].sum() / 200)
  assert found.destructive < found.wasteful < found.oracle


def test_single_exit_never_overthinks():
  found = overthinking.shares(LOGITS[:, :1], LABELS)
  assert found.oracle == found.last and found.wasteful == found.destructive == 0


def test_agreement_and_co_errors_agree_with_scikit_learn():
  agreement = overthinking.agreement(LOGITS)
  together = overthinking.co_errors(LOGITS, LABELS)
  predicted, rates = LOGITS.argmax(axis=2).T, 1 - RIGHT.mean(axis=0)
  for i in range(EXITS):
    for j in range(EXITS):
      assert agreement[i, j] == pytest.approx(accuracy_score(predicted[i], predicted[j]))
      both = confusion_matrix(~RIGHT[:, i], ~RIGHT[:, j])[1, 1] / 200
      assert together.share[i, j] == pytest.approx(both)
      assert together.ratio[i, j] == pytest.approx(both / (rates[i] * rates[j]))
  assert (np.diag(agreement) == 1).all()
  np.testing.assert_allclose(np.diag(together.share), rates)


def test_ratio_of_independent_errors_is_one():
  # Every pair of right and wrong equally often.
  right = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], bool)
  logits = np.stack([right, ~right], axis=-1).astype(float)
  assert overthinking.co_errors(logits, np.zeros(4, int)).ratio[0, 1] == 1


@pytest.mark.filterwarnings('error')
def test_ratio_of_an_exit_without_errors_is_nan():
  labels = LOGITS[:, 1].argmax(axis=1)
  together = overthinking.co_errors(LOGITS, labels)
  assert np.isnan(together.ratio[1]).all() and np.isnan(together.ratio[:, 1]).all()
  assert np.isfinite(together.ratio[0, [0, 2, 3]]).all() and together.share[0, 1] == 0


def test_running_ensembles_agree_with_loops():
  mean, geometric = overthinking.running_mean(LOGITS), overthinking.running_geometric_mean(LOGITS)
  assert mean.shape == geometric.shape == LOGITS.shape
  logits = LOGITS.astype(float)
  for k in range(EXITS):
    so_far = logits[:, : k + 1]
    np.testing.assert_allclose(np.exp(mean[:, k]), softmax(so_far, axis=2).mean(axis=1))
    expected = log_softmax(log_softmax(so_far, axis=2).mean(axis=1), axis=1)
    np.testing.assert_allclose(geometric[:, k], expected, atol=1e-12)
  np.testing.assert_allclose(np.exp(geometric).sum(axis=2), 1)
  assert metrics.correct(mean, LABELS).shape == (200, EXITS)


@pytest.mark.filterwarnings('error')
def test_running_ensembles_do_not_overflow():
  logits = np.array([[[1e4, 0.0], [0.0, 1e4]]])
  np.testing.assert_allclose(overthinking.running_mean(logits)[0, 1], np.log([0.5, 0.5]))
  np.testing.assert_allclose(overthinking.running_geometric_mean(logits)[0, 1], np.log([0.5, 0.5]))


def test_nan_is_rejected():
  for function in (overthinking.agreement, overthinking.running_mean):
    with pytest.raises(UserError, match='not finite'):
      function(np.full((2, 2, 2), np.nan))
