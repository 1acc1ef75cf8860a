"""What XLA has to be told to be fast."""

import functools
import os
import pathlib

import jax

_CPU = {'xla_cpu_experimental_ynn_fusion_type': ''}


@functools.cache
def compiler_options() -> dict[str, str]:
  """Settings for `jax.jit(.., compiler_options=..)` of a network on the default backend.

  On the CPU, jaxlib 0.10 hands convolutions to the YNNPACK library; a training step then takes up
  to twice as long on two cores as with XLA's own. An XLA that does not know the setting is left as
  it is.
  """
  if jax.default_backend() != 'cpu':
    return {}
  try:
    jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
  except jax.errors.JaxRuntimeError:
    return {}
  return dict(_CPU)


def use_cache() -> None:
  """Keeps compiled programs on disk, so that the next start of a run need not compile them again.

  They go to `~/.cache/mecl_jax/xla`; $JAX_COMPILATION_CACHE_DIR chooses another place, an empty one
  none.
  """
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    home = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache')
    jax.config.update('jax_compilation_cache_dir', str(home / 'mecl_jax' / 'xla'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
