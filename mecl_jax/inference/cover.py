"""Any number of examples by calls of a few fixed sizes, in the least time."""

from collections.abc import Mapping
from typing import NamedTuple

STEP = 4  # from one size to the next: twice as many sizes, as powers of two, compile twice as long


class Call(NamedTuple):
  """`size` examples from number `start` on; what lies beyond the last one is padding."""

  size: int
  start: int


def ladder(batch_size: int) -> tuple[int, ...]:
  """Sizes of calls: the first power of two that holds a whole batch, a quarter of it, .., and 1.

  Each is a multiple of all the smaller ones.
  """
  sizes = [1 << (batch_size - 1).bit_length()]
  while sizes[-1] > 1:
    sizes.append(max(1, sizes[-1] // STEP))
  return tuple(sizes)


def cheapest_covers(seconds: Mapping[int, float]) -> list[tuple[Call, ...]]:
  """The calls to make for 0, 1, 2, .. examples, up to as many as the largest size has.

  Where time grows with the examples, as on a CPU, 140 are 64 + 64 + 4 + 4 + 4; where a call takes
  about the same time whatever its size, as on an accelerator that is not full, they are a padded
  one of 256.

  Args:
    seconds: that a call takes, by its size; of any two sizes one is a multiple of the other.

  Returns:
    Per number of examples the calls, larger ones first. None of them ends beyond the largest size:
    without the last one examples would be left, and it starts at a multiple of its size.
  """
  costs, sizes = [0.0], [0]
  for number in range(1, max(seconds) + 1):
    cost, size = min((s + costs[max(0, number - size)], size) for size, s in seconds.items())
    costs.append(cost)
    sizes.append(size)
  return [_calls(number, sizes) for number in range(len(sizes))]


def _calls(number: int, sizes: list[int]) -> tuple[Call, ...]:
  """Args: number: of examples. sizes: per number of examples that are left, of one call."""
  taken = []
  while number > 0:
    taken.append(sizes[number])
    number -= taken[-1]
  taken.sort(reverse=True)
  return tuple(Call(size, sum(taken[:at])) for at, size in enumerate(taken))
