import numpy as np
import pytest

from mecl_jax.curriculum import permutation
from mecl_jax.curriculum.permutation import permute

pytestmark = pytest.mark.stacks


@pytest.mark.parametrize('size', [1, 2, 3, 7, 8, 9, 100, 1023, 1024, 1025, 45000])
def test_is_a_permutation(size):
  assert np.array_equal(np.sort(permute(np.arange(size), size, 3)), np.arange(size))


def test_depends_on_position_and_seed_alone():
  whole = permute(np.arange(1000), 1000, 1, 2)
  some = np.array([999, 0, 17, 17])
  assert np.array_equal(permute(some, 1000, 1, 2), whole[some])
  assert not np.array_equal(permute(np.arange(1000), 1000, 1, 3), whole)


def test_results_are_uniform_over_seeds():
  """Chi-square test: over many seeds, each of 10 positions has each of 10 results equally often."""
  counts = np.zeros((10, 10))
  for seed in range(2000):
    counts[np.arange(10), permute(np.arange(10), 10, seed)] += 1
  chi_square = ((counts - 200) ** 2 / 200).sum()
  assert chi_square < 81 + 4 * np.sqrt(2 * 81)  # 81 degrees of freedom, four standard deviations


def test_results_of_neighbours_are_uncorrelated():
  there = permute(np.arange(45000), 45000, 0)
  assert abs(np.corrcoef(np.arange(45000), there)[0, 1]) < 0.02
  assert abs(np.corrcoef(there[:-1], there[1:])[0, 1]) < 0.02


def test_a_billion_needs_no_memory():
  far = permute(np.arange(10**12 - 5, 10**12), 10**12, 0)
  assert len(set(far.tolist())) == 5 and far.min() >= 0 and far.max() < 10**12


def test_values_do_not_change():
  """Runs can resume in the middle of a permutation after an update of this package."""
  assert permute(np.arange(6), 45000, 3, 1).tolist() == [21801, 7008, 16700, 26587, 5568, 35355]
  assert permute(np.arange(3) + 10**8, 10**9, 0).tolist() == [962180059, 683121630, 819909490]
  assert permute(np.arange(3), 2**40 + 1, 0).tolist() == [797441392693, 1086696789633, 904753230990]


def test_blocks_equal_single_positions():
  """Positions of several blocks have the same results as single positions."""
  size = 3 * permutation._BLOCK + 5
  whole = permute(np.arange(size), size, 1)
  assert np.array_equal(np.sort(whole), np.arange(size))
  some = np.random.default_rng(0).integers(0, size, 100)
  assert np.array_equal(permute(some, size, 1), whole[some])


@pytest.mark.parametrize('size', [3, 33, 70, 1025, 45000, 2**40 + 1])
def test_single_positions_equal_arrays(size):
  """Few values outside of the range are handled by a Python loop instead of NumPy."""
  positions = np.arange(min(size, 500))
  together = permute(positions, size, 2)
  assert np.array_equal([permute(position, size, 2) for position in positions], together)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(permutation, '_FEW', 0)
    assert np.array_equal(permute(positions, size, 2), together)


def test_accepts_any_shape_without_side_effects():
  positions = np.arange(100, dtype=np.uint64)
  there = permute(positions, 100, 1)
  assert there.dtype == np.int64
  assert np.array_equal(positions, np.arange(100))
  square = positions.reshape(10, 10).T
  assert np.array_equal(permute(square, 100, 1), there.reshape(10, 10).T)
  assert permute(7, 100, 1) == there[7] and permute(7, 100, 1).shape == ()
