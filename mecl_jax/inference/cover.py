"""Covers of any number of examples by calls of a few fixed sizes, in the least time."""

from collections.abc import Mapping
from typing import NamedTuple

STEP = 4  # factor between sizes; all powers of two would take twice as long to compile


class Call(NamedTuple):
  """A call for `size` examples from number `start` on; rows after the last one are padding."""

  size: int
  start: int


def ladder(batch_size: int) -> tuple[int, ...]:
  """Returns sizes of calls: the smallest power of two that holds a batch, a quarter of it, .., 1.

  Each size is a multiple of all smaller ones.

  Examples:
    >>> ladder(100)
    (128, 32, 8, 2, 1)
  """
  sizes = [1 << (batch_size - 1).bit_length()]
  while sizes[-1] > 1:
    sizes.append(max(1, sizes[-1] // STEP))
  return tuple(sizes)


def cheapest_covers(seconds: Mapping[int, float]) -> list[tuple[Call, ...]]:
  """Finds the fastest calls for 0, 1, 2, .. examples, up to the largest size.

  Where the time grows with the number of examples, as on a CPU, 140 examples are 64 + 64 + 4 + 4 +
  4. Where a call takes about the same time at any size, as on an accelerator with spare capacity,
  they are one padded call of 256.

  Args:
    seconds: time of a call, by its size; of any two sizes, one is a multiple of the other.

  Returns:
    the calls for each number of examples, larger ones first. No call ends beyond the largest size:
    the last one is needed, and starts at a multiple of its size.
  """
  costs, sizes = [0.0], [0]
  for number in range(1, max(seconds) + 1):
    cost, size = min((s + costs[max(0, number - size)], size) for size, s in seconds.items())
    costs.append(cost)
    sizes.append(size)
  return [_calls(number, sizes) for number in range(len(sizes))]


def _calls(number: int, sizes: list[int]) -> tuple[Call, ...]:
  """Returns the calls for a number of examples; `sizes` of a call by how many remain."""
  taken = []
  while number > 0:
    taken.append(sizes[number])
    number -= taken[-1]
  taken.sort(reverse=True)
  return tuple(Call(size, sum(taken[:at])) for at, size in enumerate(taken))
