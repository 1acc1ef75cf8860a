"""Which training examples are shown when: difficulty, order, pacing, and the batch of every step.

NumPy only: a curriculum knows no model and no JAX.
"""

from mecl_jax.curriculum.difficulty import Difficulty, from_confidence
from mecl_jax.curriculum.order import NEED_TEACHER, ORDERS, make_order
from mecl_jax.curriculum.pacing import PACINGS, constant, fixed_exponential
from mecl_jax.curriculum.sampler import Curriculum, visible_count

# Who scores the examples: the run's own backbone, a plain run made first, another run, a file.
TEACHERS = ('final_exit', 'self_taught', 'checkpoint', 'file')

__all__ = [
  'NEED_TEACHER',
  'ORDERS',
  'PACINGS',
  'TEACHERS',
  'Curriculum',
  'Difficulty',
  'constant',
  'fixed_exponential',
  'from_confidence',
  'make_order',
  'visible_count',
]
