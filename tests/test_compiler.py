import importlib.metadata
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
from packaging.version import Version
import pytest

from mecl_jax import compiler

pytestmark = pytest.mark.stacks
# jaxlib 0.7 uses no YNNPACK, and has no option for it.
JAXLIB = Version(importlib.metadata.version('jaxlib'))
HAS_YNNPACK = Version('0.10') <= JAXLIB


def test_options_compile():
  options = compiler.compiler_options()
  assert ('xla_cpu_experimental_ynn_fusion_type' in options) == HAS_YNNPACK
  assert 'xla_disable_hlo_passes' in options
  assert jax.jit(jnp.sin, compiler_options=options)(0.0) == 0


def test_unknown_xla_option_is_left_out(monkeypatch):
  monkeypatch.setattr(compiler, '_CPU', {'xla_cpu_no_such_setting': ''})
  assert compiler.compiler_options.__wrapped__() == {}


def _last_row_is_wrong():
  """Asks a process of its own, since the tests compile with fewer optimisations."""
  code = (
    'from mecl_jax import compiler\n'
    'print(compiler.last_row_is_wrong(compiler.compiler_options()), compiler.last_row_is_wrong({}))'
  )
  environment = {k: v for k, v in os.environ.items() if not k.startswith(('JAX_DISABLE', 'XLA_'))}
  done = subprocess.run(
    [sys.executable, '-c', code], text=True, capture_output=True, check=True, env=environment
  )
  assert done.stderr == ''
  return [answer == 'True' for answer in done.stdout.split()]


def test_options_avoid_the_wrong_last_row():
  """jaxlib 0.10.2 computes it wrongly without them (jax issue 39103)."""
  with_options, without = _last_row_is_wrong()
  assert not with_options
  assert without == (Version('0.10.2') == JAXLIB)


def test_wrong_results_that_cannot_be_avoided_are_reported(monkeypatch, caplog):
  monkeypatch.setattr(compiler, '_CPU', {})
  for wrong, messages in ((False, 0), (True, 1)):
    monkeypatch.setattr(compiler, 'last_row_is_wrong', lambda options, wrong=wrong: wrong)
    compiler.compiler_options.__wrapped__()
    found = [r.getMessage() for r in caplog.records if 'wrong results' in r.getMessage()]
    assert len(found) == messages and not any('\n' in message for message in found)
