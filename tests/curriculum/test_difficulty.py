import dataclasses

import numpy as np
import pytest

from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import DamagedFile, UserError

IDS = np.array(['a', 'b', 'c', 'd'])


def example():
  return Difficulty(IDS, np.array([0.4, 0.1, 0.9, 0.2]), 'final_exit', 'loss', 'toy', 'abc')


def test_save_and_load(tmp_path):
  example().save(tmp_path / 'difficulty.npz')
  read = Difficulty.load(tmp_path / 'difficulty.npz')
  for field in dataclasses.fields(Difficulty):
    assert np.array_equal(getattr(read, field.name), getattr(example(), field.name))
  with np.load(tmp_path / 'difficulty.npz') as file:
    assert file['rank'].tolist() == [2, 0, 3, 1]


def test_contradicted_examples_are_kept_in_the_file(tmp_path):
  wrong = np.array([True, False, True, False])
  dataclasses.replace(example(), contradicted=wrong).save(tmp_path / 'd.npz')
  read = Difficulty.load(tmp_path / 'd.npz')
  assert read.contradicted.dtype == bool and read.contradicted.tolist() == wrong.tolist()
  aligned = read.aligned(np.array(['d', 'a', 'c', 'b']), 'f')
  assert aligned.contradicted.tolist() == [False, True, True, False]
  assert aligned.ids.tolist() == ['d', 'a', 'c', 'b'] and read.digest == example().digest


def test_file_of_version_0_4_lacks_contradicted(tmp_path):
  example().save(tmp_path / 'd.npz')
  with np.load(tmp_path / 'd.npz') as file:
    assert 'contradicted' not in file
  assert Difficulty.load(tmp_path / 'd.npz').contradicted is None


@pytest.mark.parametrize('array', [np.zeros(4), np.zeros(3, bool), np.zeros((4, 1), bool)])
def test_invalid_contradicted_is_rejected(tmp_path, array):
  np.savez(tmp_path / 'd.npz', id=IDS, score=np.arange(4.0), contradicted=array)
  with pytest.raises(DamagedFile, match=r'is not a valid difficulty file: .*`contradicted`'):
    Difficulty.load(tmp_path / 'd.npz')


def test_align_joins_by_id():
  wanted = np.array(['d', 'a', 'c', 'b'])
  assert example().align(wanted, 'f').tolist() == [0.2, 0.4, 0.9, 0.1]


def test_align_counts_mismatches():
  bad = dataclasses.replace(
    example(), ids=np.array(['a', 'a', 'x', 'd']), score=np.array([1, 2, np.nan, np.inf])
  )
  with pytest.raises(UserError, match='2 missing, 1 unknown, 1 duplicate, 2 not finite'):
    bad.align(IDS, 'f')


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut short', b'no zip at all'])
def test_damaged_file_is_rejected(tmp_path, content):
  (tmp_path / 'd.npz').write_bytes(content)
  with pytest.raises(UserError, match=r'd\.npz is not a \.npz file'):
    Difficulty.load(tmp_path / 'd.npz')


def test_npz_without_ids_is_rejected(tmp_path):
  np.savez(tmp_path / 'd.npz', score=np.zeros(3))
  with pytest.raises(UserError, match='is not a valid difficulty file'):
    Difficulty.load(tmp_path / 'd.npz')


def test_pickled_arrays_are_rejected(tmp_path):
  np.savez(tmp_path / 'd.npz', header=np.array({'a': object}, dtype=object))
  with pytest.raises(UserError, match=r'd\.npz is not a \.npz file'):
    Difficulty.load(tmp_path / 'd.npz')


def test_missing_file_is_rejected(tmp_path):
  with pytest.raises(UserError, match=r'd\.npz does not exist'):
    Difficulty.load(tmp_path / 'd.npz')


def test_scores_in_another_order_are_rejected(tmp_path):
  """Every array is whole, and the ids and the fingerprint fit."""
  path = tmp_path / 'd.npz'
  example().save(path)
  with np.load(path) as file:
    arrays = dict(file)
  np.savez(path, **arrays | {'score': arrays['score'][::-1]})
  with pytest.raises(DamagedFile, match=r'd\.npz is damaged: its checksum differs'):
    Difficulty.load(path)


def test_digest_is_of_ids_and_scores(tmp_path):
  example().save(tmp_path / 'd.npz')
  assert Difficulty.load(tmp_path / 'd.npz').digest == example().digest
  for change in ({'score': example().score[::-1]}, {'ids': IDS[::-1]}):
    assert dataclasses.replace(example(), **change).digest != example().digest
  assert dataclasses.replace(example(), teacher='x').digest == example().digest


def test_digest_covers_dropped_examples():
  one, other = (np.array([True, False, False, k]) for k in (False, True))
  kept, dropped = (
    {
      dataclasses.replace(example(), contradicted=wrong, drops=drops).digest
      for wrong in (None, one, other)
    }
    for drops in (False, True)
  )
  assert kept == {example().digest} and len(dropped) == 3


def write(path, ids, score):
  """Writes a table with the required columns and another one."""
  import pyarrow
  from pyarrow import csv, parquet

  if path.suffix == '.npz':
    np.savez(path, id=np.array(ids), score=np.array(score))
  else:
    table = pyarrow.table({'other': ['x'] * len(ids), 'id': ids, 'score': score})
    {'.csv': csv.write_csv, '.parquet': parquet.write_table}[path.suffix](table, path)
  return path


FORMATS = ('npz', 'csv', 'parquet')


@pytest.mark.parametrize('suffix', FORMATS)
def test_plain_tables_are_joined_by_id(tmp_path, suffix):
  path = write(tmp_path / f'scores.{suffix}', ['007', '010', '002'], [0.5, 1.5, -2.0])
  read = Difficulty.load(path)
  assert read.teacher == path.name and read.fingerprint == ''
  assert read.align(np.array(['002', '007', '010']), path).tolist() == [-2.0, 0.5, 1.5]


@pytest.mark.parametrize('suffix', FORMATS)
def test_mismatches_of_plain_tables_are_counted(tmp_path, suffix):
  ids = ['a', 'b', 'b', 'x', 'y']
  path = write(tmp_path / f'scores.{suffix}', ids, [1.0, np.nan, 1.0, np.inf, 0.0])
  with pytest.raises(
    UserError, match='4 examples: 2 missing, 2 unknown, 1 duplicate, 2 not finite'
  ):
    Difficulty.load(path).align(IDS, path)


def test_empty_cell_is_not_finite(tmp_path):
  path = tmp_path / 's.csv'
  path.write_text('id,score\na,1\nb,\nc,2\nd,3\n')
  with pytest.raises(UserError, match='1 not finite'):
    Difficulty.load(path).align(IDS, path)


@pytest.mark.parametrize('content', ['', 'id,points\na,1\n', 'id,score\na,hard\n', 'id,score\na\n'])
def test_invalid_csv_is_rejected(tmp_path, content):
  (tmp_path / 's.csv').write_text(content)
  with pytest.raises(UserError, match=r's\.csv is not a valid difficulty file: '):
    Difficulty.load(tmp_path / 's.csv')


def test_invalid_parquet_is_rejected(tmp_path):
  (tmp_path / 's.parquet').write_bytes(b'PAR1 cut short')
  with pytest.raises(UserError, match='is not a valid difficulty file'):
    Difficulty.load(tmp_path / 's.parquet')


def test_file_of_version_0_1_is_valid(tmp_path):
  header = (
    '{"teacher": "final_exit", "dataset": "toy", "fingerprint": "abc", "measure": "confidence"}'
  )
  np.savez(tmp_path / 'd.npz', id=IDS, score=np.arange(4.0), rank=np.arange(4), header=header)
  assert Difficulty.load(tmp_path / 'd.npz').measure == 'confidence'


@pytest.mark.parametrize(
  ('ids', 'score'),
  [(IDS, np.ones((4, 1))), (IDS[:, None], np.ones((4, 1))), (IDS, np.ones(4, complex)), (IDS, IDS)],
)
def test_invalid_arrays_are_rejected(tmp_path, ids, score):
  np.savez(tmp_path / 'd.npz', id=ids, score=score)
  with pytest.raises(UserError, match='is not a valid difficulty file: ids of shape'):
    Difficulty.load(tmp_path / 'd.npz')
