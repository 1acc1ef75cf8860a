import dataclasses

import numpy as np
import pytest

from mecl_jax.curriculum import Difficulty, from_confidence
from mecl_jax.errors import UserError

IDS = np.array(['a', 'b', 'c', 'd'])


def example():
  return Difficulty(IDS, np.array([0.4, 0.1, 0.9, 0.2]), 'final_exit', 'toy', 'abc')


def test_from_confidence_is_one_minus_softmax():
  logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], np.float32)
  softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  score = from_confidence(logits, np.array([1, 0]))
  np.testing.assert_allclose(score, [1 - softmax[0, 1], 2 / 3], rtol=1e-6)


def test_from_confidence_tells_very_sure_predictions_apart():
  logits = np.array([[40.0, 0.0], [60.0, 0.0]], np.float32)
  sure, surer = from_confidence(logits, np.array([0, 0]))
  assert 0 < surer < sure < 1e-15


def test_save_and_load(tmp_path):
  example().save(tmp_path / 'difficulty.npz')
  read = Difficulty.load(tmp_path / 'difficulty.npz')
  for field in dataclasses.fields(Difficulty):
    assert np.array_equal(getattr(read, field.name), getattr(example(), field.name))
  with np.load(tmp_path / 'difficulty.npz') as file:
    assert file['rank'].tolist() == [2, 0, 3, 1]


def test_joins_by_id():
  wanted = np.array(['d', 'a', 'c', 'b'])
  assert example().align(wanted, 'f').tolist() == [0.2, 0.4, 0.9, 0.1]


def test_counts_what_does_not_fit():
  bad = dataclasses.replace(
    example(), ids=np.array(['a', 'a', 'x', 'd']), score=np.array([1, 2, np.nan, np.inf])
  )
  with pytest.raises(UserError, match='2 missing, 1 unknown, 1 double, 2 not finite'):
    bad.align(IDS, 'f')


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut short', b'no zip at all'])
def test_a_damaged_file_is_an_error(tmp_path, content):
  (tmp_path / 'd.npz').write_bytes(content)
  with pytest.raises(UserError, match='is no difficulty file'):
    Difficulty.load(tmp_path / 'd.npz')


def test_a_foreign_npz_is_an_error(tmp_path):
  np.savez(tmp_path / 'd.npz', score=np.zeros(3))
  with pytest.raises(UserError, match='is no difficulty file'):
    Difficulty.load(tmp_path / 'd.npz')


def test_pickles_are_not_read(tmp_path):
  np.savez(tmp_path / 'd.npz', header=np.array({'a': object}, dtype=object))
  with pytest.raises(UserError, match='is no difficulty file'):
    Difficulty.load(tmp_path / 'd.npz')


def test_a_missing_file_is_an_error(tmp_path):
  with pytest.raises(UserError, match='there is no difficulty file'):
    Difficulty.load(tmp_path / 'd.npz')
