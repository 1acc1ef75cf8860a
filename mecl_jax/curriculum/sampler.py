"""The curriculum iterator: the batch of any step, without a hidden state."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from mecl_jax.curriculum.pacing import Pacing
from mecl_jax.curriculum.permutation import permute
from mecl_jax.errors import UserError


def visible_count(share: float, size: int, batch_size: int) -> int:
  """How many of `size` examples a share makes visible: rounded up, and at least one batch."""
  # 1,800 of 45,000 at a share of 0.04, although 45,000 * 0.04 is a little more in floating point.
  return min(max(math.ceil(size * share * (1 - 1e-12)), batch_size), size)


@dataclasses.dataclass(frozen=True, eq=False)
class Curriculum:
  """Draws the batch of step t from the examples that are visible at t; a pure function of t.

  While the visible prefix stays the same it is passed through again and again, each time in another
  seeded order, no example twice within a pass. Asking for step 10,000,000 costs what step 0 costs.

  Several hosts share a batch without talking to each other: host h of H computes only the h-th of H
  contiguous parts of every batch, and the parts of all, one behind the other, are the batch of one.

  Attributes:
    order: int [N], positions in the training split, first shown first. May be memory-mapped: only
      the entries that a batch asks for are read.
    pacing: step -> share of the training set that is visible, in (0, 1].
    batch_size: examples per step, over all hosts.
    seed: of the order within the passes; the same on all hosts.
    host: which of the hosts this is, from 0.
    hosts: how many hosts there are; divides `batch_size`.
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
        f'batch_size is {self.batch_size}; the training split has {len(self.order)} examples'
      )
    if self.hosts < 1 or self.batch_size % self.hosts:
      raise UserError(f'batch_size is {self.batch_size}; {self.hosts} hosts do not divide it')
    if not 0 <= self.host < self.hosts:
      raise UserError(f'host is {self.host}; with {self.hosts} hosts it is 0 to {self.hosts - 1}')

  def visible(self, step: int) -> int:
    """How many examples are visible at `step`."""
    return visible_count(self.pacing(step), len(self.order), self.batch_size)

  def ranks(self, steps: int | Sequence[int]) -> np.ndarray:
    """Places in the order (0 is first shown) of this host's examples of a step, or of several.

    Args:
      steps: one step, for int64 [batch_size // hosts], or several, for int64 [steps, batch_size //
        hosts]: cheaper than one by one, since neighbours that see the same prefix share their work.
    """
    each = np.atleast_1d(np.asarray(steps, np.int64)).tolist()  # Python's integers: no overflow
    part = self.batch_size // self.hosts
    ranks = np.empty((len(each), part), np.int64)
    runs: list[tuple[int, int, int]] = []  # visible, number of the pass, where in `ranks` it begins
    for row, step in enumerate(each):
      size = self.visible(step)
      number, place = divmod(step * self.batch_size + self.host * part, size)
      ranks[row] = np.arange(place, place + part)
      left = size - place  # of the pass; no batch reaches into a third one, being at most `size`
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

  def batch_ids(self, steps: int | Sequence[int]) -> np.ndarray:
    """Positions in the training split of this host's examples of a step, or of several.

    The same shapes as `ranks`, in the dtype of `order`.
    """
    return self.order[self.ranks(steps)]
