import doctest

import pytest

from mecl_jax.models import factory, macs, placement
from mecl_jax.models.pretrained import names, preprocessing


@pytest.mark.parametrize('module', [factory, macs, placement, names, preprocessing])
def test_examples_in_docstrings(module):
  result = doctest.testmod(module)
  assert result.attempted and not result.failed
