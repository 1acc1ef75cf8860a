"""Float64 in a test."""

import contextlib

import jax


@contextlib.contextmanager
def float64(enabled: bool = True):
  """Lets JAX compute in float64, or not; JAX 0.7.2 has no `jax.enable_x64`."""
  before = jax.config.read('jax_enable_x64')
  jax.config.update('jax_enable_x64', enabled)
  try:
    yield
  finally:
    jax.config.update('jax_enable_x64', before)
