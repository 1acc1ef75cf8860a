"""The table of a study, and `make_run`, which the tests of its analysis use too."""

import pytest

from experiments.paired.table import (
  columns,
  exits_of,
  fields_of,
  read_table,
  records,
  write_table,
)
from mecl_jax.errors import UserError


def make_run(arm, seed, *test, final=0.9, trial=None, validation=None, **more):
  """Returns a row with these test accuracies of early exits, and the same on validation."""
  named = {f'exit{k}': value for k, value in enumerate(test, start=1)}
  row = {'study': 'toy', 'setting': 'digits', 'dataset': 'digits', 'backbone': 'resnet8'}
  row |= {'noise': 0.0, 'strategy': 'classifier_wise', 'arm': arm}
  row |= {'kind': 'run' if trial is None else 'trial', 'trial': trial, 'budget': 100}
  row |= {'seed': seed, 'fields': '{"curriculum.order": "none"}'}
  row['exits'] = ' '.join([*(f'stage{k}' for k in range(1, len(test) + 1)), 'final'])
  row['macs'] = ' '.join(str(10 * k) for k in range(1, len(test) + 2))
  row |= {f'test_{name}': value for name, value in named.items()} | {'test_final': final}
  row |= {f'validation_{name}': value for name, value in (validation or named).items()}
  row |= {'validation_final': final, 'area': None, 'seconds': 1.5, 'backbone_run': 'b'}
  row |= {'fingerprint': 'f', 'version': '0', 'device': 'cpu', 'error': None}
  return row | more


def failed(row):
  """Returns the row of a run that failed before anything was measured."""
  measured = ('exits', 'macs', 'area', 'test_', 'validation_')
  return {k: v for k, v in row.items() if not k.startswith(measured)} | {'error': 'went wrong'}


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'runs.csv'


def test_table_reads_back_unchanged(path):
  rows = [
    make_run('standard', 0, 0.1, 1 / 3, noise=0.2, area=0.25, error=''),
    make_run('standard', 3, 0.6123, 0.7, trial=4, fields='{"a": [1, "x, y"], "b": 1e-3}'),
    make_run('standard', 1, 0.5, 0.5, budget=1000, device='a "quoted", two\nline name'),
  ]
  write_table(path, rows)
  table = read_table(path)
  assert table.dtypes.astype(str).to_dict() == columns(2)
  found = records(table)
  assert found == [rows[0] | {'error': None}, *rows[1:]]
  assert isinstance(found[0]['noise'], float) and isinstance(found[1]['trial'], int)
  assert exits_of(found[0]) == ('stage1', 'stage2', 'final')
  assert fields_of(found[1]) == {'a': [1, 'x, y'], 'b': 0.001}


def test_table_without_rows_reads_back(path):
  write_table(path, [])
  assert records(read_table(path)) == []


def test_equal_runs_make_equal_files(path):
  rows = [make_run(arm, seed, 0.5) for arm in ('b', 'a') for seed in (10, 9)]
  write_table(path, rows)
  before = path.read_bytes()
  write_table(path, rows[::-1])
  assert path.read_bytes() == before
  assert [(row['arm'], row['seed']) for row in records(read_table(path))] == [
    ('a', 9), ('a', 10), ('b', 9), ('b', 10)
  ]  # fmt: skip


def test_area_and_seconds_are_rounded_and_accuracies_are_not(path):
  write_table(path, [make_run('a', 0, 1 / 3, area=0.12345678, seconds=1.26)])
  (row,) = records(read_table(path))
  assert (row['test_exit1'], row['area'], row['seconds']) == (1 / 3, 0.123457, 1.3)


def test_exits_that_a_network_lacks_are_empty(path):
  write_table(path, [make_run('a', 0, 0.5), make_run('a', 0, 0.5, 0.6, setting='wide')])
  short, long = records(read_table(path))
  assert (short['test_exit2'], short['test_final']) == (None, 0.9)
  assert long['test_exit2'] == 0.6


def test_failed_run_has_no_measures(path):
  write_table(path, [make_run('a', 0, 0.5), failed(make_run('a', 1))])
  row = records(read_table(path))[1]
  assert row['error'] == 'went wrong'
  assert row['exits'] is row['area'] is row['test_exit1'] is row['test_final'] is None


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'test_exit1': 50.0}, "runs.csv, row 1, column test_exit1: '50.0' is not a share"),
    ({'test_exit1': float('nan')}, 'row 1, column test_exit1'),
    ({'area': float('nan')}, 'row 1, column area: NaN is not a value'),
    ({'budget': '300 steps'}, "column budget: not of type int64 .*'300 steps'"),
    ({'budget': 0}, "row 1, column budget: '0' is not a positive"),
    ({'trial': 1.5}, 'column trial: not of type Int64'),
    ({'kind': 'try'}, "row 1, column kind: 'try' is none of: run, trial"),
    ({'kind': 'trial'}, 'column trial: must not be empty'),
    ({'fields': '[1]'}, 'column fields: .*is not a JSON object'),
    ({'fields': "{'a': 1}"}, 'column fields'),
    ({'macs': '10'}, 'column macs: .* does not have one number for each exit'),
    ({'macs': '10 many'}, 'column macs'),
    ({'seconds': float('inf')}, "column seconds: 'inf' is not a duration"),
    ({'test_exit1': None}, 'row 1, column test_exit1: must not be empty'),
    ({'validation_final': None}, 'column validation_final: must not be empty'),
    ({'exits': None}, 'column exits: must not be empty'),
    ({'arm': None}, 'column arm: must not be empty'),
    ({'exits': ['stage1', 'final']}, 'column exits: .* is not text'),
    ({'test_exit2': 0.5}, "unknown column 'test_exit2'"),
  ],
)
def test_invalid_row_is_not_written(path, change, message):
  path.write_text('as it was')
  with pytest.raises(UserError, match=message):
    write_table(path, [make_run('a', 0, 0.5) | change])
  assert path.read_text() == 'as it was'


def test_missing_column_is_named(path):
  row = make_run('a', 0, 0.5)
  del row['device']
  with pytest.raises(UserError, match="no column 'device'"):
    write_table(path, [row])


def test_run_occurs_once(path):
  rows = [make_run('a', 0, 0.5), make_run('a', 0, 0.6), make_run('a', 0, 0.5, trial=0)]
  write_table(path, rows[1:])
  before = path.read_text()
  with pytest.raises(UserError, match="row 2, column seed: '0' occurs twice for one run"):
    write_table(path, rows)
  assert path.read_text() == before


def test_other_files_are_rejected(path):
  with pytest.raises(UserError, match='there is no table'):
    read_table(path)
  write_table(path, [make_run('a', 0, 0.5)])
  good = path.read_text()
  for text, message in (
    ('', 'is not a CSV file'),
    ('a\n', "has no column 'study'"),
    (good.replace(',area', ''), "has no column 'area'"),
    (good.replace('study,setting', 'setting,study'), 'its columns are setting, study, .* expected'),
    (good.replace('error\n', 'error,more\n'), 'its columns are .*, more; expected'),
    (good + 'toy,digits\n', 'row 2, column dataset: must not be empty'),
    (good.replace(',cpu', ',"cpu'), 'is not a CSV file'),
  ):
    path.write_text(text)
    with pytest.raises(UserError, match=message):
      read_table(path)
  path.write_bytes(b'\xff')
  with pytest.raises(UserError, match='UTF-8'):
    read_table(path)
