import doctest

import pytest

from mecl_jax.curriculum import difficulty, order, sampler, scores


@pytest.mark.parametrize('module', [difficulty, order, sampler, scores])
def test_examples_in_docstrings(module):
  result = doctest.testmod(module)
  assert result.attempted and not result.failed
