import jax
import jax.numpy as jnp

from mecl_jax import compiler


def test_options_compile():
  options = compiler.compiler_options()
  assert 'xla_cpu_experimental_ynn_fusion_type' in options
  assert jax.jit(jnp.sin, compiler_options=options)(0.0) == 0


def test_unknown_xla_option_is_left_out(monkeypatch):
  monkeypatch.setattr(compiler, '_CPU', {'xla_cpu_no_such_setting': ''})
  assert compiler.compiler_options.__wrapped__() == {}
