import numpy as np
import pytest

from mecl_jax.curriculum.permutation import permute


@pytest.mark.parametrize('size', [1, 2, 3, 7, 8, 9, 100, 1023, 1024, 1025, 45000])
def test_is_a_permutation(size):
  assert np.array_equal(np.sort(permute(np.arange(size), size, 3)), np.arange(size))


def test_depends_on_position_and_seed_alone():
  whole = permute(np.arange(1000), 1000, 1, 2)
  some = np.array([999, 0, 17, 17])
  assert np.array_equal(permute(some, 1000, 1, 2), whole[some])
  assert not np.array_equal(permute(np.arange(1000), 1000, 1, 3), whole)


def test_sends_every_position_everywhere():
  """Over many seeds each of 10 positions lands on each of 10 places about as often (chi-square)."""
  counts = np.zeros((10, 10))
  for seed in range(2000):
    counts[np.arange(10), permute(np.arange(10), 10, seed)] += 1
  chi_square = ((counts - 200) ** 2 / 200).sum()
  assert chi_square < 81 + 4 * np.sqrt(2 * 81)  # 81 degrees of freedom, four deviations


def test_neighbours_do_not_stay_neighbours():
  there = permute(np.arange(45000), 45000, 0)
  assert abs(np.corrcoef(np.arange(45000), there)[0, 1]) < 0.02
  assert abs(np.corrcoef(there[:-1], there[1:])[0, 1]) < 0.02


def test_a_billion_needs_no_memory():
  far = permute(np.arange(10**12 - 5, 10**12), 10**12, 0)
  assert len(set(far.tolist())) == 5 and far.min() >= 0 and far.max() < 10**12
