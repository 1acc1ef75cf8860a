import itertools

import pytest

from mecl_jax.inference.cover import Call, cheapest_covers, ladder


@pytest.mark.parametrize(
  ('batch_size', 'sizes'),
  [(1, (1,)), (2, (2, 1)), (4, (4, 1)), (100, (128, 32, 8, 2, 1)), (256, (256, 64, 16, 4, 1))],
)
def test_sizes_go_from_a_batch_to_one(batch_size, sizes):
  assert ladder(batch_size) == sizes


def sizes_of(calls):
  return [call.size for call in calls]


def test_growing_times_need_little_padding():
  covers = cheapest_covers({size: 1.0 * size + 0.5 for size in ladder(256)})
  assert sizes_of(covers[140]) == [64, 64, 4, 4, 4]
  assert sizes_of(covers[256]) == [256]
  assert covers[0] == ()


def test_constant_times_need_one_call():
  covers = cheapest_covers({size: 1 + size / 1000 for size in ladder(256)})
  assert covers[140] == (Call(256, 0),)
  assert covers[50] == (Call(64, 0),)


@pytest.mark.parametrize(
  'seconds', [{8: 5.0, 2: 2.0, 1: 1.9}, {8: 3.0, 2: 1.0, 1: 0.7}, {8: 9.0, 2: 1.0, 1: 2.0}]
)
def test_no_cover_is_faster(seconds):
  for number, calls in enumerate(cheapest_covers(seconds)):
    least = min(
      sum(seconds[size] * times for size, times in zip(seconds, chosen, strict=True))
      for chosen in itertools.product(range(9), repeat=len(seconds))
      if sum(size * times for size, times in zip(seconds, chosen, strict=True)) >= number
    )
    assert sum(seconds[call.size] for call in calls) == pytest.approx(least)


@pytest.mark.parametrize('power', [0.3, 0.9, 1.4])
@pytest.mark.parametrize('batch_size', [1, 7, 100, 256])
def test_calls_are_contiguous_within_the_largest_size(batch_size, power):
  seconds = {size: size**power for size in ladder(batch_size)}
  for number, calls in enumerate(cheapest_covers(seconds)):
    ends = [0, *itertools.accumulate(sizes_of(calls))]
    assert [call.start for call in calls] == ends[:-1]
    assert number <= ends[-1] <= max(seconds)
