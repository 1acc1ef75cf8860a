"""The order in which examples become visible: a permutation of the training set."""

import numpy as np

from mecl_jax.errors import UserError, choose

NEED_TEACHER = ('easy_first', 'anti')
ORDERS = (*NEED_TEACHER, 'random', 'none')


def make_order(
  order: str,
  score: np.ndarray | None,
  labels: np.ndarray,
  *,
  seed: int,
  class_balanced: bool = True,
) -> np.ndarray:
  """Ranks the training examples.

  Args:
    order: 'easy_first', 'anti' (hardest first), 'random', or 'none' (as stored).
    score: float [N], larger is harder; 'random' and 'none' need none.
    labels: int [N].
    seed: breaks ties of the score, and makes the random order.
    class_balanced: take the first of every class, then the second of every class, and so on (each
      such group by score), so that every prefix that is a multiple of the number of classes is
      balanced; what larger classes have left over comes last (Hacohen and Weinshall 2019).

  Returns:
    int64 [N]: positions in the training split, first shown first.

  Raises:
    UserError: no such order, or one that needs a score and has none.
  """
  if choose('curriculum.order', order, ORDERS) == 'none':
    return np.arange(len(labels))
  lots = np.random.default_rng(seed).permutation(len(labels))
  if order == 'random':
    ranking = np.argsort(lots)
  elif score is None:
    raise UserError(f'curriculum.order={order} ranks by a score; give one')
  else:
    ranking = np.lexsort((lots, score if order == 'easy_first' else -score))
  return balance(ranking, labels) if class_balanced else ranking


def balance(ranking: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Reorders a ranking (positions, int [N]) so that the classes take turns."""
  classes = labels[ranking]
  by_class = np.argsort(classes, kind='stable')
  starts = np.searchsorted(classes[by_class], classes[by_class])
  turn = np.empty(len(ranking), np.int64)  # how many of the same class come before
  turn[by_class] = np.arange(len(ranking)) - starts
  return ranking[np.argsort(turn, kind='stable')]
