"""Resizing of images and of position embeddings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def resize(x: jax.Array, height: int, width: int, method: str) -> jax.Array:
  """Resizes images as `jax.image.resize`, with antialiasing where they shrink.

  Each direction is a product with a matrix that is a constant of the program, which other
  frameworks can compute too.

  Args:
    x: [.., H, W, C].
    height, width: new size in pixels.
    method: 'bilinear' or 'bicubic'.

  Returns:
    [.., height, width, C].
  """
  rows = jnp.asarray(_matrix(x.shape[-3], height, method), x.dtype)
  columns = jnp.asarray(_matrix(x.shape[-2], width, method), x.dtype)
  return jnp.einsum('...hwc,Hh,Ww->...HWc', x, rows, columns, precision='highest')


@functools.cache
def _matrix(old: int, new: int, method: str) -> np.ndarray:
  """Returns the matrix [new, old] that resizes a line of pixels."""
  with jax.ensure_compile_time_eval():
    return np.asarray(jax.image.resize(jnp.eye(old), (new, old), method))
