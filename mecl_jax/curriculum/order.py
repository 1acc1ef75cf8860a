"""The order in which training examples become visible."""

import numpy as np

from mecl_jax.errors import UserError, choose

NEED_TEACHER = ('easy_first', 'anti')  # orders that rank by difficulty score
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

  Examples:
    >>> score, labels = np.array([0.3, 0.1, 0.2, 0.9]), np.array([0, 0, 0, 1])
    >>> make_order('easy_first', score, labels, seed=0, class_balanced=False).tolist()
    [1, 2, 0, 3]
    >>> make_order('easy_first', score, labels, seed=0).tolist()  # the classes alternate
    [1, 3, 2, 0]

  Args:
    order: 'easy_first', 'anti' (hardest first), 'random', or 'none' (the order of the data set).
    score: float [N], difficulty of every example, larger is harder. None is valid for the orders
      'random' and 'none', which do not use it.
    labels: int [N], class of every example.
    seed: breaks ties of the score, and determines the random order.
    class_balanced: take the first example of every class, then the second of every class, and so
      on; each such round is sorted by the ranking. Every prefix whose length is a multiple of the
      number of classes is then balanced, until the smallest class is used up. The remaining
      examples of larger classes come last. Has no effect with 'none'.

  Returns:
    int64 [N], positions in the training split, first shown first.

  Raises:
    UserError: `order` is unknown, or it needs a score and `score` is None.

  References:
    Hacohen and Weinshall, "On The Power of Curriculum Learning in Training Deep Networks", ICML
    2019, arXiv 1904.03626.
  """
  if choose('curriculum.order', order, ORDERS) == 'none':
    return np.arange(len(labels))
  lots = np.random.default_rng(seed).permutation(len(labels))
  if order == 'random':
    ranking = np.argsort(lots)
  elif score is None:
    raise UserError(f'curriculum.order={order} needs difficulty scores, but score is None')
  else:
    ranking = np.lexsort((lots, score if order == 'easy_first' else -score))
  return balance(ranking, labels) if class_balanced else ranking


def balance(ranking: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Reorders a ranking into rounds that take one example of every class.

  Args:
    ranking: int [N], positions in the training split.
    labels: int [N], class of every example.

  Returns:
    int64 [N], the same positions. The order within each class stays.
  """
  classes = labels[ranking]
  by_class = np.argsort(classes, kind='stable')
  starts = np.searchsorted(classes[by_class], classes[by_class])
  turn = np.empty(len(ranking), np.int64)  # number of earlier examples of the same class
  turn[by_class] = np.arange(len(ranking)) - starts
  return ranking[np.argsort(turn, kind='stable')]
