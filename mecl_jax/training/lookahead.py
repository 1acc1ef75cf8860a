"""Lookahead: slow weights that the trained weights are pulled back to, every few steps.

References:
  Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019, arXiv 1907.08610.
  Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, arXiv 2404.00498 (the growing
  share, and that batch statistics are pulled back too).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NOT_DUE = -1.0  # share at the steps between two pulls
GROWTH = 3  # power of the phase's progress that the share grows with


def slow_shares(steps: int, every: int, share: float) -> np.ndarray:
  """Returns the share of the slow weights in the pull after every step of a phase.

  The share grows from 0 to `share` with the cube of the progress: training moves fast at first and
  averages at the end. The last step pulls too, so that the phase ends with the average.

  Args:
    steps: of the phase.
    every: steps between two pulls.
    share: after the last step, from 0 to 1.

  Returns:
    float32 [steps]; `NOT_DUE` after a step without a pull.
  """
  done = np.arange(1, steps + 1)
  due = (done % every == 0) | (done == steps)
  return np.where(due, share * (done / steps) ** GROWTH, NOT_DUE).astype(np.float32)


def pull(fast: Any, slow: Any, share: jax.Array) -> tuple[Any, Any]:
  """Returns fast and slow weights after a step; both are their mean if a pull is due.

  Args:
    fast: trained weights, nested dicts of arrays.
    slow: of the same structure.
    share: float32, of the slow weights in the mean; `NOT_DUE`: nothing changes.
  """
  due = share >= 0

  def mean(f, s):
    return (f + share * (s - f)).astype(f.dtype)

  def choose(new, old):
    return jax.tree.map(lambda n, o: jnp.where(due, n, o), new, old)

  pulled = jax.tree.map(mean, fast, slow)
  return choose(pulled, fast), choose(pulled, slow)
