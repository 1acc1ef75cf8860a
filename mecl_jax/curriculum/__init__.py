"""Which training examples are shown when: difficulty, order, pacing, and the batch of every step.

NumPy only: a curriculum knows no model and no JAX.
"""

from mecl_jax.curriculum import pacing, scores, weights
from mecl_jax.curriculum.difficulty import Difficulty
from mecl_jax.curriculum.order import NEED_TEACHER, ORDERS, make_order
from mecl_jax.curriculum.sampler import Curriculum, visible_count

__all__ = [
  'NEED_TEACHER',
  'ORDERS',
  'Curriculum',
  'Difficulty',
  'make_order',
  'pacing',
  'scores',
  'visible_count',
  'weights',
]
