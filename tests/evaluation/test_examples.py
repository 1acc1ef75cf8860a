import doctest
import importlib
import pkgutil

import pytest

from mecl_jax import evaluation, inference

MODULES = [
  module.name
  for package in (evaluation, inference)
  for module in pkgutil.iter_modules(package.__path__, f'{package.__name__}.')
]


@pytest.mark.parametrize('name', MODULES)
def test_examples_of_docstrings_run(name):
  assert not doctest.testmod(importlib.import_module(name)).failed
