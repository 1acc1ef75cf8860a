"""What all tests share; the tiny data set and configuration are in toys.py."""

import atexit
import os
import shutil
import tempfile

import numpy as np
import pytest

# Before JAX starts, and for the processes that tests start too. One place for compiled programs,
# shared by all of them:
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _cache = tempfile.mkdtemp(prefix='mecl_jax-xla-')
  atexit.register(shutil.rmtree, _cache, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _cache
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Tiny networks take longer to compile than to run: these two make that four times as fast.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
os.environ.setdefault('XLA_FLAGS', '--xla_cpu_use_fusion_emitters=false')


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
