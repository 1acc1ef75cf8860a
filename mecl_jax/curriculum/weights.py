"""How much an example counts in the loss of an exit: arrays [.., batch, exits].

Exit weights, the exits' own visible shares and the weighting of easy examples are all this one
array; the training step multiplies losses by it and knows no more.
"""

import numpy as np


def inside(ranks: np.ndarray, visible: np.ndarray) -> np.ndarray:
  """Counts for each exit only the examples inside its own visible prefix.

  A batch is drawn from the largest prefix; an exit that sees a smaller one has fewer examples in
  it, which count more in turn: over a pass through the largest prefix every example of an exit's
  own prefix has the same weight, and the mean over the pass is 1 for every exit.

  Args:
    ranks: int [.., batch], places of the batch's examples in the order.
    visible: int [.., exits], the exits' visible counts.

  Returns:
    float64 [.., batch, exits].
  """
  visible = visible[..., None, :]
  share = visible / visible.max(axis=-1, keepdims=True)
  return (ranks[..., None] < visible) / share


def favour_easy(easiness: np.ndarray, depth: np.ndarray, strength: float) -> np.ndarray:
  """Weights easy examples up and hard ones down, the more the earlier the exit.

  `1 + strength (1 - depth) (2 easiness - 1)`. A fixed schedule with the bounds of the weights that
  L2W-DEN learns (Han et al., ECCV 2022, arXiv 2209.08310: strength 0.8 on CIFAR).

  Args:
    easiness: [.., batch], from 0, the hardest training example, to 1, the easiest.
    depth: [exits], from 0, the first exit of the network, to 1, the last.
    strength: in [0, 1].

  Returns:
    float64 [.., batch, exits].
  """
  return 1 + strength * (1 - depth) * (2 * easiness[..., None] - 1)


def reweighted(counted: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Weights the examples that count for an exit, so that its loss keeps its size.

  Args:
    counted: [.., batch, exits], at least 0, as of `inside`.
    weights: [.., batch, exits], at least 0; only their proportions among what counts matter.

  Returns:
    [.., batch, exits], with the sums over the batch of `counted`; 0 where nothing has a weight.
  """
  product = counted * weights
  total, kept = (array.sum(axis=-2, keepdims=True) for array in (product, counted))
  mean = np.divide(total, kept, out=np.zeros_like(total), where=kept > 0)
  return np.divide(product, mean, out=np.zeros_like(product), where=mean > 0)
