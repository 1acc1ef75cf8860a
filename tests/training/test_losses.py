import jax
import numpy as np
from scipy import special

from mecl_jax.training.losses import cross_entropy, distillation, weighted_sum

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


def test_weighted_sum_over_exits_and_batch():
  losses, weights = RNG.random((6, 3)), RNG.random((6, 3))
  expected = sum((weights[:, k] * losses[:, k]).mean() for k in range(3))
  np.testing.assert_allclose(weighted_sum(losses, weights), expected, rtol=1e-6)


def test_zero_weight_leaves_an_example_out():
  losses, weights = RNG.random((6, 3)), np.ones((6, 3))
  weights[2, 1] = 0
  other = losses.copy()
  other[2, 1] = 100
  assert weighted_sum(losses, weights) == weighted_sum(other, weights)


def test_distillation_by_hand():
  """It is a sum over the classes; a mean would be five times smaller."""
  teacher, temperature = RNG.normal(size=(6, 5)), 3.0
  target = special.softmax(teacher / temperature, axis=-1)
  expected = -9 * (target[:, None] * special.log_softmax(LOGITS / temperature, axis=-1)).sum(-1)
  np.testing.assert_allclose(distillation(LOGITS, teacher, temperature), expected, rtol=1e-5)


def test_no_gradient_through_the_teacher():
  teacher = RNG.normal(size=(6, 5)).astype(np.float32)
  to_teacher = jax.grad(lambda t: distillation(LOGITS, t, 2.0).sum())(teacher)
  to_exits = jax.grad(lambda x: distillation(x, teacher, 2.0).sum())(LOGITS)
  assert not to_teacher.any() and to_exits.any()


def test_no_gradient_if_exit_and_teacher_agree():
  gradient = jax.grad(lambda x: distillation(x, LOGITS[:, 1], 2.0)[:, 1].sum())(LOGITS)
  np.testing.assert_allclose(gradient, 0, atol=1e-6)
