import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.training.lookahead import NOT_DUE, pull, slow_shares

pytestmark = pytest.mark.stacks


def test_share_grows_with_the_cube_of_progress():
  shares = slow_shares(10, every=4, share=0.8)
  expected = np.full(10, NOT_DUE)
  expected[[3, 7, 9]] = 0.8 * 0.4**3, 0.8 * 0.8**3, 0.8  # the last step is due too
  np.testing.assert_allclose(shares, expected, rtol=1e-6)
  assert shares.dtype == np.float32


def test_pull_sets_both_to_their_mean():
  fast, slow = {'a': jnp.array([1.0, 2.0])}, {'a': jnp.array([3.0, 2.0])}
  for pulled in pull(fast, slow, jnp.float32(0.25)):
    np.testing.assert_allclose(pulled['a'], [1.5, 2.0])


def test_nothing_changes_between_pulls():
  fast, slow = {'a': jnp.array([1.0])}, {'a': jnp.array([3.0])}
  kept = pull(fast, slow, jnp.float32(NOT_DUE))
  jax.tree.map(np.testing.assert_array_equal, kept, (fast, slow))


def test_equal_weights_stay_the_same_bit_for_bit():
  """Constants among the batch statistics, such as whitening filters, must not drift."""
  weights = jnp.asarray(np.random.default_rng(0).normal(size=1000), jnp.float32)
  for share in np.linspace(0, 1, 7, dtype=np.float32):
    for pulled in pull(weights, weights, share):
      np.testing.assert_array_equal(pulled, weights)
