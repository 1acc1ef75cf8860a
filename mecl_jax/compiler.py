"""XLA compiler options, and the cache of compiled programs."""

import functools
import os
import pathlib

import jax

_CPU = {'xla_cpu_experimental_ynn_fusion_type': ''}


@functools.cache
def compiler_options() -> dict[str, str]:
  """Returns options for `jax.jit(.., compiler_options=..)` of networks on the default backend.

  On the CPU, jaxlib 0.10 uses the YNNPACK library for convolutions, which makes a training step up
  to twice as slow on two cores as XLA's own code. If XLA does not have the option, there is none.
  """
  if jax.default_backend() != 'cpu':
    return {}
  try:
    jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
  except jax.errors.JaxRuntimeError:
    return {}
  return dict(_CPU)


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
