"""Difficulty scores, the order and pacing of training examples, and the batch of every step.

This package uses NumPy only; it does not depend on JAX or on a model.
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
