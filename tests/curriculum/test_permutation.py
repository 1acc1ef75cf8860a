import numpy as np
import pytest

from mecl_jax.curriculum import permutation
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


def test_values_stay_what_they_were():
  """Runs resume in the middle of a permutation, also after an update of this package."""
  assert permute(np.arange(6), 45000, 3, 1).tolist() == [21801, 7008, 16700, 26587, 5568, 35355]
  assert permute(np.arange(3) + 10**8, 10**9, 0).tolist() == [962180059, 683121630, 819909490]
  assert permute(np.arange(3), 2**40 + 1, 0).tolist() == [797441392693, 1086696789633, 904753230990]


def test_blocks_join():
  """More positions than fit in a block give what each gives by itself."""
  size = 3 * permutation._BLOCK + 5
  whole = permute(np.arange(size), size, 1)
  assert np.array_equal(np.sort(whole), np.arange(size))
  some = np.random.default_rng(0).integers(0, size, 100)
  assert np.array_equal(permute(some, size, 1), whole[some])


@pytest.mark.parametrize('size', [3, 33, 70, 1025, 45000, 2**40 + 1])
def test_few_positions_are_sent_where_many_are(size):
  """The last few that are outside are sent on one by one, by other code."""
  positions = np.arange(min(size, 500))
  together = permute(positions, size, 2)
  assert np.array_equal([permute(position, size, 2) for position in positions], together)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(permutation, '_FEW', 0)
    assert np.array_equal(permute(positions, size, 2), together)


def test_any_shape_and_leaves_its_argument_alone():
  positions = np.arange(100, dtype=np.uint64)
  there = permute(positions, 100, 1)
  assert there.dtype == np.int64
  assert np.array_equal(positions, np.arange(100))
  square = positions.reshape(10, 10).T
  assert np.array_equal(permute(square, 100, 1), there.reshape(10, 10).T)
  assert permute(7, 100, 1) == there[7] and permute(7, 100, 1).shape == ()
