"""Small networks and helpers for the tests of models."""

from collections.abc import Collection, Iterable
import functools

import jax
import numpy as np
import pytest

from mecl_jax import models

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)

# Compiles without backend optimisation, which takes longer than it saves in tests.
quick_jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@quick_jit
def call(module, *inputs):
  """Returns `module(*inputs)`, compiled as one program instead of one per operation."""
  return module(*inputs)


def build(**changes):
  settings = {
    'backbone': 'resnet8',
    'exits': ('stage1', 'stage2'),
    'head': 'conv',
    'num_classes': 5,
    'image_shape': (8, 8, 3),
    'width': 4,
    'head_width': 6,
    'mean': [0.4, 0.5, 0.6],
    'std': [0.2, 0.25, 0.3],
    'seed': 0,
  }
  return models.build(**{**settings, **changes})


def slow_except(quick: Collection, parameters: Iterable) -> list:
  """Marks test parameters as slow, except those whose first value is quick."""
  cases = [case if isinstance(case, tuple) else (case,) for case in parameters]
  return [pytest.param(*case, marks=() if case[0] in quick else pytest.mark.slow) for case in cases]
