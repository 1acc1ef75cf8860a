import numpy as np

from mecl_jax.training.losses import cross_entropy, weighted_sum

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 6)


def by_hand(smoothing):
  log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
  target = np.eye(5)[LABELS] * (1 - smoothing) + smoothing / 5
  return -(target[:, None] * log_p).sum(-1)


def test_cross_entropy_per_example_and_exit():
  np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), by_hand(0.0), rtol=1e-5)


def test_label_smoothing():
  np.testing.assert_allclose(cross_entropy(LOGITS, LABELS, 0.1), by_hand(0.1), rtol=1e-5)


def test_weighted_sum_adds_exits_and_averages_the_batch():
  losses, weights = RNG.random((6, 3)), RNG.random((6, 3))
  expected = sum((weights[:, k] * losses[:, k]).mean() for k in range(3))
  np.testing.assert_allclose(weighted_sum(losses, weights), expected, rtol=1e-6)


def test_a_weight_of_zero_leaves_an_example_out():
  losses, weights = RNG.random((6, 3)), np.ones((6, 3))
  weights[2, 1] = 0
  other = losses.copy()
  other[2, 1] = 100
  assert weighted_sum(losses, weights) == weighted_sum(other, weights)
