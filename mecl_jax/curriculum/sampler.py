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

  Attributes:
    order: int [N], positions in the training split, first shown first.
    pacing: step -> share of the training set that is visible, in (0, 1].
    batch_size: examples per step.
    seed: of the order within the passes.
  """

  order: np.ndarray
  pacing: Pacing
  batch_size: int
  seed: int

  def __post_init__(self):
    if not 1 <= self.batch_size <= len(self.order):
      raise UserError(
        f'batch_size is {self.batch_size}; the training split has {len(self.order)} examples'
      )

  def visible(self, step: int) -> int:
    """How many examples are visible at `step`."""
    return visible_count(self.pacing(step), len(self.order), self.batch_size)

  def ranks(self, steps: int | Sequence[int]) -> np.ndarray:
    """Places in the order (0 is first shown) of the examples of a step, or of several at once.

    Args:
      steps: one step, for int64 [batch], or several, for int64 [steps, batch]: cheaper than one by
        one, since steps that see the same prefix share their work.
    """
    each = np.atleast_1d(np.asarray(steps, np.int64))
    visible = np.array([self.visible(int(step)) for step in each])[:, None]
    passes, places = np.divmod(
      each[:, None] * self.batch_size + np.arange(self.batch_size), visible
    )
    seen = np.broadcast_to(visible, passes.shape)
    ranks = np.empty_like(places)
    for size, number in sorted(set(zip(seen.flat, passes.flat, strict=True))):
      chosen = (seen == size) & (passes == number)
      ranks[chosen] = permute(places[chosen], int(size), self.seed, int(size), int(number))
    return ranks.reshape(*np.shape(steps), self.batch_size)

  def batch_ids(self, steps: int | Sequence[int]) -> np.ndarray:
    """Positions in the training split of the examples of a step, or of several; see `ranks`."""
    return self.order[self.ranks(steps)]
