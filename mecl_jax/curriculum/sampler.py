"""The batch of every training step, computed from the step number alone."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from mecl_jax.curriculum.pacing import Pacing
from mecl_jax.curriculum.permutation import permute
from mecl_jax.errors import UserError


def visible_count(share: float, size: int, batch_size: int) -> int:
  """Returns the number of visible examples: share * size, rounded up, and at least one batch.

  Args:
    share: of the training set, in (0, 1].
    size: number of training examples.
    batch_size: number of examples in a batch.
  """
  # 45,000 * 0.04 is a little more than 1,800 in floating point and must not become 1,801.
  return min(max(math.ceil(size * share * (1 - 1e-12)), batch_size), size)


@dataclasses.dataclass(frozen=True, eq=False)
class Curriculum:
  """The training examples of every step, drawn from the examples that are visible at that step.

  The batch is a pure function of the step, with the same cost for all steps. While the visible
  prefix stays the same, it is shown in passes: each pass has its own random order and shows every
  visible example once.

  Several hosts share a batch without communication. With H hosts a batch has H contiguous parts of
  equal size, and host h computes part h only.

  Examples:
    >>> curriculum = Curriculum(np.arange(100), lambda step: 0.1, batch_size=5, seed=0)
    >>> curriculum.visible(0)
    10
    >>> curriculum.batch_ids(range(2)).shape  # one pass through the visible examples
    (2, 5)
    >>> sorted(curriculum.batch_ids(range(2)).ravel().tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

  Attributes:
    order: int [N], positions in the training split, first shown first. It may be memory-mapped;
      only the entries of a batch are read.
    pacing: function from a step to the visible share of the training set, in (0, 1].
    batch_size: examples per step, of all hosts together.
    seed: of the random order within each pass; the same on all hosts.
    host: index of this host, from 0.
    hosts: number of hosts; must divide `batch_size`.

  Raises:
    UserError: `batch_size` is larger than the training split or not divisible by `hosts`, or
      `host` is out of range.
  """

  order: np.ndarray
  pacing: Pacing
  batch_size: int
  seed: int
  host: int = 0
  hosts: int = 1

  def __post_init__(self):
    if not 1 <= self.batch_size <= len(self.order):
      raise UserError(
        f'batch_size is {self.batch_size}; it must be between 1 and the {len(self.order)} examples'
        ' of the training split'
      )
    if self.hosts < 1 or self.batch_size % self.hosts:
      raise UserError(
        f'batch_size is {self.batch_size}; it must be divisible by the number of hosts,'
        f' {self.hosts}'
      )
    if not 0 <= self.host < self.hosts:
      raise UserError(
        f'host is {self.host}; with {self.hosts} hosts it must be between 0 and {self.hosts - 1}'
      )

  def visible(self, step: int) -> int:
    """Returns the number of visible examples at `step`."""
    return visible_count(self.pacing(step), len(self.order), self.batch_size)

  def ranks(self, steps: int | Sequence[int]) -> np.ndarray:
    """Returns the ranks in the order (0 is shown first) of this host's examples.

    Args:
      steps: one step, or several. A call for several steps is faster than several calls, because
        neighbouring steps with the same visible prefix share one permutation.

    Returns:
      int64 [batch_size // hosts] for one step, int64 [steps, batch_size // hosts] for several.
    """
    each = np.atleast_1d(np.asarray(steps, np.int64)).tolist()  # Python integers do not overflow
    part = self.batch_size // self.hosts
    ranks = np.empty((len(each), part), np.int64)
    runs: list[tuple[int, int, int]] = []  # visible examples, number of the pass, start in `ranks`
    for row, step in enumerate(each):
      size = self.visible(step)
      number, place = divmod(step * self.batch_size + self.host * part, size)
      ranks[row] = np.arange(place, place + part)
      left = size - place  # examples left in the pass; a batch spans two passes at most
      ranks[row, left:] -= size
      if not runs or runs[-1][:2] != (size, number):
        runs.append((size, number, row * part))
      if left < part:
        runs.append((size, number + 1, row * part + left))
    flat = ranks.reshape(-1)  # a view
    for run, (size, number, begin) in enumerate(runs):
      end = runs[run + 1][2] if run + 1 < len(runs) else len(flat)
      flat[begin:end] = permute(flat[begin:end], size, self.seed, size, number)
    return ranks.reshape(*np.shape(steps), part)

  def passes(self, steps: Sequence[int]) -> np.ndarray:
    """Returns in which pass, from 0, the examples of `ranks` are shown, int64 as `ranks(steps)`.

    Each pass shows every visible example once. While the visible prefix stays the same, the next
    pass has the next number. Where the prefix grows, the number jumps.
    """
    part = self.batch_size // self.hosts
    each = np.asarray(steps, np.int64)
    sizes = np.array([self.visible(step) for step in each.tolist()], np.int64)
    places = each * self.batch_size + self.host * part
    return (places[:, None] + np.arange(part)) // sizes[:, None]

  def batch_ids(self, steps: int | Sequence[int]) -> np.ndarray:
    """Returns the positions in the training split of this host's examples.

    Args:
      steps: one step, or several; see `ranks`.

    Returns:
      array of the shape that `ranks` returns, in the dtype of `order`.
    """
    return self.order[self.ranks(steps)]
