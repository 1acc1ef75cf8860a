from collections import Counter

import numpy as np
import pytest

from mecl_jax.curriculum import Curriculum, constant, fixed_exponential
from mecl_jax.errors import UserError


def make(size=1000, batch_size=10, pacing=None, seed=0):
  order = np.random.default_rng(9).permutation(size)
  return Curriculum(order, pacing or constant(), batch_size, seed)


def test_a_step_is_a_pure_function():
  one, other = make(), make()
  later = one.batch_ids(777)
  for step in range(5):
    one.batch_ids(step)
  assert np.array_equal(one.batch_ids(777), later)
  assert np.array_equal(other.batch_ids(777), later)
  assert not np.array_equal(make(seed=1).batch_ids(777), later)


def test_several_steps_at_once_are_the_same_steps():
  curriculum = make(pacing=fixed_exponential(start=0.1, increase=1.3, step_length=3))
  together = curriculum.batch_ids(range(5, 40))
  assert together.shape == (35, 10)
  assert np.array_equal(together, [curriculum.batch_ids(step) for step in range(5, 40)])


def test_every_pass_shows_every_example_once_and_in_another_order():
  curriculum = make(size=100, batch_size=10)
  passes = [np.concatenate([curriculum.batch_ids(10 * p + s) for s in range(10)]) for p in range(3)]
  for shown in passes:
    assert sorted(shown) == list(range(100))
  assert not np.array_equal(passes[0], passes[1])


def test_passes_that_batches_do_not_divide_are_still_even():
  curriculum = make(size=101, batch_size=10)
  shown = Counter(np.concatenate([curriculum.batch_ids(s) for s in range(101)]).tolist())
  assert set(shown.values()) == {10} and len(shown) == 101


def test_shows_the_visible_prefix_and_nothing_else():
  pacing = fixed_exponential(start=0.1, increase=2.0, step_length=50)
  curriculum = make(pacing=pacing)
  for start, visible in ((0, 100), (50, 200), (100, 400), (150, 800), (200, 1000)):
    assert curriculum.visible(start) == curriculum.visible(start + 49) == visible
    ids = np.concatenate([curriculum.batch_ids(s) for s in range(start, start + 50)])
    assert set(ids) <= set(curriculum.order[:visible])
    assert curriculum.ranks(start).max() < visible
  first = np.concatenate([curriculum.batch_ids(s) for s in range(50)])
  assert set(first) == set(curriculum.order[:100])


def test_visible_is_rounded_up_but_not_by_floating_point():
  pacing = fixed_exponential(0.04, 1.9, 100)
  assert make(size=45000, pacing=pacing).visible(0) == 1800
  assert make(size=45001, pacing=pacing).visible(0) == 1801


def test_at_least_one_batch_is_visible():
  curriculum = make(batch_size=64, pacing=constant(0.001))
  assert curriculum.visible(0) == 64
  assert sorted(curriculum.batch_ids(0)) == sorted(curriculum.order[:64])


def test_any_step_costs_the_same():
  assert len(make().batch_ids(10_000_000)) == 10


def test_a_batch_larger_than_the_split_is_an_error():
  with pytest.raises(UserError, match='batch_size is 11; the training split has 10 '):
    make(size=10, batch_size=11)
