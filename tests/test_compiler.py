import importlib.metadata

import jax
import jax.numpy as jnp
from packaging.version import Version
import pytest

from mecl_jax import compiler

pytestmark = pytest.mark.stacks
# jaxlib 0.7 uses no YNNPACK, and has no option for it.
HAS_YNNPACK = Version(importlib.metadata.version('jaxlib')) >= Version('0.10')


def test_options_compile():
  options = compiler.compiler_options()
  assert ('xla_cpu_experimental_ynn_fusion_type' in options) == HAS_YNNPACK
  assert 'xla_disable_hlo_passes' in options
  assert jax.jit(jnp.sin, compiler_options=options)(0.0) == 0


def test_unknown_xla_option_is_left_out(monkeypatch):
  monkeypatch.setattr(compiler, '_CPU', {'xla_cpu_no_such_setting': ''})
  assert compiler.compiler_options.__wrapped__() == {}
