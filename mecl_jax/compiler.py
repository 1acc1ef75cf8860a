"""XLA compiler options, and the cache of compiled programs."""

import functools
import logging
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

_YNNPACK = 'xla_cpu_experimental_ynn_fusion_type'
_CPU = {
  # Turns off the YNNPACK library, which makes a training step up to twice as slow on two cores as
  # XLA's own code, and in jaxlib 0.10.2 computes wrong last rows (jax issue 39103), see
  # `last_row_is_wrong`.
  _YNNPACK: '',
  # Keeps barriers until fusion, as newer versions do: see `models.convolution`, and `model.remat`.
  'xla_disable_hlo_passes': 'cse_barrier_expander',
}


@functools.cache
def compiler_options() -> dict[str, str]:
  """Returns options for `jax.jit(.., compiler_options=..)` of networks on the default backend.

  Options that XLA does not have are left out. If YNNPACK cannot be turned off, and computes wrong
  results here, that is logged as a warning.
  """
  if jax.default_backend() != 'cpu':
    return {}
  found = {name: value for name, value in _CPU.items() if _exists(name, value)}
  if _YNNPACK not in found and last_row_is_wrong(found):
    logging.getLogger(__name__).warning(
      'jaxlib %s computes wrong results on this CPU (jax issue 39103), and has no option %s to'
      ' prevent it; install another version of jaxlib',
      jax.lib.__version__,
      _YNNPACK,
    )
  return found


def last_row_is_wrong(options: dict[str, str], rows: int = 32_769) -> bool:
  """Returns whether the compiler computes the last of many rows wrongly, as jaxlib 0.10.2 does.

  Args:
    options: of the compiler.
    rows: of a matrix in float32; the fault begins with 32,769 rows, or 16,385 in float64.
  """
  turn = jnp.eye(3)  # the fault needs a product of the rows with a matrix, and a sum over it
  lengths = jax.vmap(lambda row: ((turn @ row) ** 2).sum())
  numbers = np.zeros((rows, 3), np.float32)
  numbers[:, 0] = np.arange(rows)
  found = jax.jit(lengths, compiler_options=options)(numbers)
  return float(found[-1]) != (rows - 1) ** 2


def _exists(name: str, value: str) -> bool:
  try:
    jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
  except jax.errors.JaxRuntimeError:
    return False
  return True


def use_cache() -> None:
  """Keeps compiled programs on disk, so that the next start of a run does not compile them again.

  The folder is `~/.cache/mecl_jax/xla`. $JAX_COMPILATION_CACHE_DIR sets another one; an empty value
  turns the cache off.
  """
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    home = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache')
    jax.config.update('jax_compilation_cache_dir', str(home / 'mecl_jax' / 'xla'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
