import jax
import numpy as np
import pytest
from scipy import special

from mecl_jax.training.gating import hard_gate, soft_gate, survival, weights_by_earlier_exits

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 6)


def test_survival_is_a_product_over_earlier_exits():
  sure = special.softmax(LOGITS, axis=-1).max(axis=-1)
  reached = np.stack([np.ones(6), 1 - sure[:, 0], (1 - sure[:, 0]) * (1 - sure[:, 1])], axis=1)
  weights = survival(LOGITS, np.ones((6, 3), bool))
  np.testing.assert_allclose(weights, reached / reached.mean(axis=0), rtol=1e-4)
  np.testing.assert_allclose(weights.mean(axis=0), 1, rtol=1e-5)


def test_survival_has_mean_one_over_seen_examples():
  seen = np.arange(6)[:, None] < np.array([2, 4, 0])
  weights = survival(LOGITS, seen)
  for exit_index, count in enumerate((2, 4)):
    np.testing.assert_allclose(weights[:count, exit_index].mean(), 1, rtol=1e-5)
  assert np.isfinite(weights).all()


def test_survival_if_the_first_exit_is_always_sure():
  logits = np.zeros((4, 2, 3), np.float32)
  logits[:, 0, 0] = 1e4
  assert survival(logits, np.ones((4, 2), bool)).tolist() == [[1, 0]] * 4


def test_hard_gate_closes_after_a_sure_and_right_exit():
  logits = np.zeros((4, 3, 5), np.float32)
  sure, unsure = 5.0, 1.0  # the highest probability is 0.97 and 0.40
  logits[0, 0, 2] = sure  # right
  logits[1, 0, 3] = sure  # wrong, and right at the second exit
  logits[1, 1, 2] = sure
  logits[2, 0, 2] = unsure
  logits[3, :, 2] = sure
  labels = np.full(4, 2)
  expected = [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]]
  assert hard_gate(logits, labels, 0.9).tolist() == expected
  assert hard_gate(logits, labels, 0.3).tolist() == [*expected[:2], [1, 0, 0], expected[3]]


def test_soft_gate_is_a_product_over_earlier_exits():
  found = soft_gate(LOGITS, LABELS, 0.7)
  right = special.softmax(LOGITS, axis=-1)[np.arange(6), :, LABELS]
  opened = 1 - special.expit(right - 0.7)
  expected = np.stack([np.ones(6), opened[:, 0], opened[:, 0] * opened[:, 1]], axis=1)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(('method', 'function'), [('cgt_hard', hard_gate), ('cgt_soft', soft_gate)])
def test_gradient_counts_only_the_open_examples(method, function):
  """It is weight x (softmax - label): no gradient flows through the weights."""

  def loss(logits):
    weights = weights_by_earlier_exits(method, logits, LABELS, np.ones((6, 3), bool), 0.3)
    log_p = jax.nn.log_softmax(logits)
    return -(weights * log_p[np.arange(6), :, LABELS]).sum()

  target = np.eye(5)[LABELS][:, None]
  weights = np.asarray(function(LOGITS, LABELS, 0.3))
  assert 0 < (weights == 0).sum() < 12 or method == 'cgt_soft'
  expected = weights[..., None] * (special.softmax(LOGITS, axis=-1) - target)
  np.testing.assert_allclose(jax.grad(loss)(LOGITS), expected, rtol=1e-4, atol=1e-6)
