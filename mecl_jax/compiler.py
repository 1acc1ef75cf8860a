"""XLA compiler options, and the cache of compiled programs."""

import functools
import os
import pathlib

import jax

_CPU = {
  # The YNNPACK library that jaxlib 0.10 uses for convolutions makes a training step up to twice as
  # slow on two cores as XLA's own code.
  'xla_cpu_experimental_ynn_fusion_type': '',
  # Keeps barriers until fusion, as newer versions do: see `models.convolution`, and `model.remat`.
  'xla_disable_hlo_passes': 'cse_barrier_expander',
}


@functools.cache
def compiler_options() -> dict[str, str]:
  """Returns options for `jax.jit(.., compiler_options=..)` of networks on the default backend.

  Options that XLA does not have are left out.
  """
  if jax.default_backend() != 'cpu':
    return {}
  return {name: value for name, value in _CPU.items() if _exists(name, value)}


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
