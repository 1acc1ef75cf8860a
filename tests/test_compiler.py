import jax
import jax.numpy as jnp

from mecl_jax import compiler


def test_the_options_compile():
  options = compiler.compiler_options()
  assert 'xla_cpu_experimental_ynn_fusion_type' in options
  assert jax.jit(jnp.sin, compiler_options=options)(0.0) == 0


def test_settings_that_this_xla_does_not_know_are_left_out(monkeypatch):
  monkeypatch.setattr(compiler, '_CPU', {'xla_cpu_no_such_setting': ''})
  assert compiler.compiler_options.__wrapped__() == {}
