"""Fixtures of all tests; the tiny data set and configuration are in toys.py."""

import atexit
import importlib.metadata
import os
import shutil
import tempfile

import numpy as np
from packaging.version import Version
import pytest

# Set before JAX starts, also for the processes that tests start. All share one cache of compiled
# programs:
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _cache = tempfile.mkdtemp(prefix='mecl_jax-xla-')
  atexit.register(shutil.rmtree, _cache, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _cache
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Tiny networks take longer to compile than to run: these two make that four times as fast.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# jaxlib 0.12 has no flag for the second, and XLA ends a process at a flag that it does not have.
FUSION_FLAG = 'xla_cpu_use_fusion_emitters'
HAS_FUSION_FLAG = Version(importlib.metadata.version('jaxlib')) < Version('0.12')
if HAS_FUSION_FLAG:
  os.environ.setdefault('XLA_FLAGS', f'--{FUSION_FLAG}=false')


@pytest.fixture(scope='session')
def toy_file(tmp_path_factory):
  """An .npz of the tiny data set."""
  from tests.toys import make_arrays

  path = tmp_path_factory.mktemp('toy') / 'toy.npz'
  np.savez(path, **make_arrays())
  return path


@pytest.fixture
def toy_config(toy_file):
  """A configuration whose whole run takes seconds."""
  from tests.toys import make_config

  return make_config(toy_file)


@pytest.fixture
def rounded_as_outside(monkeypatch):
  """Compiles steps without the XLA_FLAGS above.

  With those flags, two programs that compute the same may round differently.
  """
  from mecl_jax.compiler import compiler_options
  from mecl_jax.training import phase, step

  options = compiler_options()
  if HAS_FUSION_FLAG:
    options = {**options, FUSION_FLAG: True}
  monkeypatch.setattr(step, 'compiler_options', lambda: options)
  phase._compiled_step.cache_clear()
  yield
  phase._compiled_step.cache_clear()


@pytest.fixture(scope='session')
def ended(toy_file, tmp_path_factory):
  """Returns a function from changes of `toy_config` to the work directory of such a run.

  It is trained once and must be left as it is.
  """
  from rich.console import Console

  from mecl_jax.commands.train import train
  from tests.toys import make_config

  folders = {}

  def train_once(**changes):
    key = tuple(sorted(changes.items()))
    if key not in folders:
      c = make_config(toy_file)
      c.update_from_flattened_dict(changes)
      folder = tmp_path_factory.mktemp('ended')
      train(c, folder, console=Console(quiet=True))
      folders[key] = folder
    return folders[key]

  return train_once


@pytest.fixture
def own(ended, tmp_path):
  """A copy of the run of `toy_config`, which a test may change."""
  return shutil.copytree(ended(), tmp_path / 'own')
