import numpy as np
import pytest

from mecl_jax.data import rows
from mecl_jax.errors import RunError


@pytest.fixture
def images(tmp_path):
  found = np.random.default_rng(0).integers(0, 255, (9, 2, 3, 2), dtype=np.uint8)
  (tmp_path / 'images').write_bytes(found.tobytes())
  return found


@pytest.fixture
def in_file(images, tmp_path):
  with (tmp_path / 'images').open('rb') as file:
    yield rows.FileRows(file, images.shape[1:], np.arange(len(images)))


@pytest.mark.parametrize(
  'where',
  [
    3,
    -1,
    slice(2, 7),
    slice(None, None, -2),
    slice(4, 4),
    [8, 0, 1, 1],
    np.array([[1, 2], [5, 4]]),
    np.arange(9) % 2 == 0,
  ],
)
def test_indexing_returns_what_an_array_does(images, in_file, where):
  np.testing.assert_array_equal(in_file[where], images[where])


def test_facts_are_those_of_the_array(images, in_file):
  assert (in_file.shape, in_file.size, in_file.nbytes) == (images.shape, images.size, images.nbytes)
  assert (in_file.dtype, in_file.ndim, len(in_file)) == (images.dtype, images.ndim, len(images))
  np.testing.assert_array_equal(np.asarray(in_file), images)


def test_taking_reads_nothing(images, in_file):
  chosen = in_file.take(np.array([5, 1, 2])).take(np.array([True, False, True]))
  assert isinstance(chosen, rows.FileRows)
  np.testing.assert_array_equal(chosen[:], images[[5, 2]])


def test_file_that_was_cut_is_an_error(in_file, tmp_path):
  (tmp_path / 'images').write_bytes(b'short')
  with pytest.raises(RunError, match='were cut'):
    in_file[:]
