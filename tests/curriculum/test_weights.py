import numpy as np

from mecl_jax.curriculum import Curriculum, pacing, weights


def test_inside_is_zero_outside_of_the_prefix():
  ranks = np.array([[0, 3, 9, 5], [2, 8, 1, 4]])
  visible = np.array([[5, 10], [10, 10]])
  result = weights.inside(ranks, visible)
  assert result[0, :, 0].tolist() == [2, 2, 0, 0]  # half of the prefix, twice the weight
  assert (result[0, :, 1] == 1).all() and (result[1] == 1).all()


def test_inside_sums_to_equal_weights_in_a_pass():
  curriculum = Curriculum(np.arange(60), pacing.constant(), 10, seed=0)
  ranks = curriculum.ranks(range(6))  # one pass
  counted = weights.inside(ranks, np.tile([12, 30, 60], (6, 1)))
  for exit_index, visible in enumerate((12, 30, 60)):
    total = np.bincount(ranks.ravel(), counted[..., exit_index].ravel(), minlength=60)
    np.testing.assert_allclose(total[:visible], 60 / visible)
    assert not total[visible:].any()
    np.testing.assert_allclose(counted[..., exit_index].mean(), 1)


def test_favour_easy_at_each_exit():
  result = weights.favour_easy(np.array([0.0, 0.5, 1.0]), np.array([0.8, -0.4, 0.0]))
  np.testing.assert_allclose(result[:, 0], [0.2, 1, 1.8])
  np.testing.assert_allclose(result[:, 1], [1.4, 1, 0.6])
  np.testing.assert_allclose(result[:, 2], 1)


def test_favour_easy_at_each_step():
  easiness, strengths = np.array([[0.0, 1.0], [1.0, 0.25]]), np.array([[0.5], [-0.5]])
  result = weights.favour_easy(easiness, strengths)
  np.testing.assert_allclose(result[..., 0], [[0.5, 1.5], [0.5, 1.25]])


def test_reweighted_keeps_sums_over_the_batch():
  counted = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
  factors = np.array([[1.0, 0.0, 5.0, 1.0], [3.0, 0.0, 5.0, 1.0]])
  np.testing.assert_allclose(weights.reweighted(counted, factors), [[0.5, 0, 1, 0], [1.5, 0, 1, 0]])


def test_reweighted_prefix_has_mean_weight_one():
  ranks = np.arange(10)[None]  # easiest first
  counted = weights.inside(ranks, np.array([[2, 10]]))
  result = weights.reweighted(counted, weights.favour_easy(1 - ranks / 9, np.full(2, 0.8)))
  np.testing.assert_allclose(result.mean(axis=1), 1)
  assert not result[0, 2:, 0].any() and result[0, 0, 0] > result[0, 1, 0]
