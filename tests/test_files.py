import numpy as np
import pytest

from mecl_jax.files import write_npz

pytestmark = pytest.mark.stacks


def test_npz_has_the_given_arrays_alone(tmp_path):
  write_npz(tmp_path / 'a.npz', {'ids': np.array(['x', 'y']), 'score': np.ones(2)})
  with np.load(tmp_path / 'a.npz', allow_pickle=False) as file:
    assert file.files == ['ids', 'score']
    assert file['ids'].tolist() == ['x', 'y']


def test_arrays_of_objects_are_rejected(tmp_path):
  with pytest.raises(ValueError, match='the array b has objects'):
    write_npz(tmp_path / 'a.npz', {'b': np.array([None])})
  assert not list(tmp_path.iterdir())
