"""Weights of the examples in the loss of every exit: arrays [.., batch, exits].

The visible prefix of each exit and the weighting of easy examples both end in one such array, by
which the training step multiplies the losses.
"""

import numpy as np


def inside(ranks: np.ndarray, visible: np.ndarray) -> np.ndarray:
  """Returns weights that are 0 for the examples outside of an exit's own visible prefix.

  A batch is drawn from the largest prefix. An exit with a smaller prefix uses fewer examples of it,
  and their weights are larger in proportion. In one pass through the largest prefix, all examples
  of an exit's own prefix have the same total weight, and the mean weight is 1 for every exit.

  Args:
    ranks: int [.., batch], ranks of the batch's examples in the order, 0 is shown first.
    visible: int [.., exits], number of visible examples of every exit.

  Returns:
    float64 [.., batch, exits].
  """
  visible = visible[..., None, :]
  share = visible / visible.max(axis=-1, keepdims=True)
  return (ranks[..., None] < visible) / share


def favour_easy(easiness: np.ndarray, strengths: np.ndarray) -> np.ndarray:
  """Returns weights above 1 for easy and below 1 for hard examples.

  The weight is `1 + strength * (2 * easiness - 1)`. L2W-DEN learns weights within the same bounds,
  with a strength of 0.8 on CIFAR; these weights are fixed.

  Args:
    easiness: float [.., batch], from 0 (the hardest training example) to 1 (the easiest).
    strengths: float [.., exits], in [-1, 1]; below 0 hard examples have the larger weights.

  Returns:
    float64 [.., batch, exits], in [1 - strength, 1 + strength].

  References:
    Han et al., "Learning to Weight Samples for Dynamic Early-exiting Networks", ECCV 2022, arXiv
    2209.08310.
  """
  return 1 + strengths[..., None, :] * (2 * easiness[..., None] - 1)


def reweighted(counted: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Multiplies two weightings and keeps the sum of the first over the batch.

  The size of an exit's loss therefore does not depend on the second weighting.

  Args:
    counted: float [.., batch, exits], at least 0, as returned by `inside`.
    weights: float [.., batch, exits], at least 0; only their ratios matter.

  Returns:
    float [.., batch, exits]. Its sums over the batch are those of `counted`, or 0 for an exit where
    the product is 0 for all examples.
  """
  product = counted * weights
  total, kept = (array.sum(axis=-2, keepdims=True) for array in (product, counted))
  mean = np.divide(total, kept, out=np.zeros_like(total), where=kept > 0)
  return np.divide(product, mean, out=np.zeros_like(product), where=mean > 0)
