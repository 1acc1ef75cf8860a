import numpy as np
import pytest

from mecl_jax.report.rows import groups, row, values


def test_none_is_nan_in_a_column():
  rows = [{'a': None, 'b': 'x'}, {'a': 2, 'b': 'y'}]
  np.testing.assert_array_equal(values(rows, 'a'), [np.nan, 2])
  assert groups(rows, 'b') == {('x',): rows[:1], ('y',): rows[1:]}


def test_numpy_values_become_plain_ones():
  made = row({'a': np.float32(0.5), 'b': np.nan, 'c': np.bool_(True), 'd': 'x', 'e': None})
  assert made == {'a': 0.5, 'b': None, 'c': True, 'd': 'x', 'e': None}
  assert [type(value) for value in made.values()] == [float, type(None), bool, str, type(None)]


def test_other_types_are_rejected():
  with pytest.raises(TypeError, match='column a holds a list'):
    row({'a': [1]})
