"""The table of a study; `make_run` is also what the tests of its analysis are made of."""

import pytest

from experiments.paired.table import columns, exits_of, fields_of, read_table, write_table
from mecl_jax.errors import UserError


def make_run(arm, seed, *test, final=0.9, trial=None, validation=None, **more):
  """A row with these test accuracies of the early exits, and the same on validation."""
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
  """The row as it is written when the run went wrong before anything was measured."""
  measured = ('exits', 'macs', 'area', 'test_', 'validation_')
  return {k: v for k, v in row.items() if not k.startswith(measured)} | {'error': 'went wrong'}


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'runs.csv'


def test_a_table_reads_back_as_it_was(path):
  rows = [
    make_run('standard', 0, 0.1, 1 / 3, noise=0.2, area=0.25, error=''),
    make_run('standard', 3, 0.6123, 0.7, trial=4, fields='{"a": [1, "x, y"], "b": 1e-3}'),
    make_run('standard', 1, 0.5, 0.5, budget=1000, device='a "quoted", two\nline name'),
  ]
  write_table(path, rows)
  found = read_table(path)
  assert [list(row) for row in found] == [list(columns(2))] * 3
  assert found == [rows[0] | {'error': None}, *rows[1:]]
  assert isinstance(found[0]['noise'], float) and isinstance(found[1]['trial'], int)
  assert exits_of(found[0]) == ('stage1', 'stage2', 'final')
  assert fields_of(found[1]) == {'a': [1, 'x, y'], 'b': 0.001}


def test_equal_runs_make_equal_files(path):
  rows = [make_run(arm, seed, 0.5) for arm in ('b', 'a') for seed in (10, 9)]
  write_table(path, rows)
  before = path.read_bytes()
  write_table(path, rows[::-1])
  assert path.read_bytes() == before
  assert [(row['arm'], row['seed']) for row in read_table(path)] == [
    ('a', 9), ('a', 10), ('b', 9), ('b', 10)
  ]  # fmt: skip


def test_area_and_seconds_are_rounded_and_accuracies_are_not(path):
  write_table(path, [make_run('a', 0, 1 / 3, area=0.12345678, seconds=1.26)])
  (row,) = read_table(path)
  assert (row['test_exit1'], row['area'], row['seconds']) == (1 / 3, 0.123457, 1.3)


def test_exits_that_a_network_lacks_are_empty(path):
  write_table(path, [make_run('a', 0, 0.5), make_run('a', 0, 0.5, 0.6, setting='wide')])
  short, long = read_table(path)
  assert (short['test_exit2'], short['test_final']) == (None, 0.9)
  assert long['test_exit2'] == 0.6


def test_a_run_that_failed_has_no_measures(path):
  write_table(path, [make_run('a', 0, 0.5), failed(make_run('a', 1))])
  row = read_table(path)[1]
  assert row['error'] == 'went wrong'
  assert row['exits'] is row['area'] is row['test_exit1'] is row['test_final'] is None


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'test_exit1': 50.0}, r"runs.csv, line 2, column test_exit1: '50.0' does not fit"),
    ({'test_exit1': float('nan')}, 'line 2, column test_exit1'),
    ({'budget': '300 steps'}, 'line 2, column budget'),
    ({'trial': 1.0}, 'line 2, column trial'),
    ({'kind': 'try'}, r"column kind: 'try' does not fit \(is none of: run, trial\)"),
    ({'kind': 'trial'}, 'column trial is empty'),
    ({'fields': '[1]'}, r'column fields: .*is no JSON object'),
    ({'fields': "{'a': 1}"}, 'column fields'),
    ({'macs': '10'}, 'column macs has not one number for each of: stage1 final'),
    ({'macs': '10 many'}, 'column macs'),
    ({'test_exit1': None}, 'line 2, column test_exit1 is empty'),
    ({'validation_final': None}, 'column validation_final is empty'),
    ({'exits': None}, 'column exits is empty'),
    ({'arm': None}, 'column arm is empty'),
    ({'exits': ['stage1', 'final']}, 'column exits cannot hold a list'),
    ({'test_exit2': 0.5}, "a column 'test_exit2' that no table has"),
  ],
)
def test_what_does_not_fit_is_not_written(path, change, message):
  path.write_text('as it was')
  with pytest.raises(UserError, match=message):
    write_table(path, [make_run('a', 0, 0.5) | change])
  assert path.read_text() == 'as it was'


def test_a_column_that_was_forgotten_is_named(path):
  row = make_run('a', 0, 0.5)
  del row['device']
  with pytest.raises(UserError, match="lacks the column 'device'"):
    write_table(path, [row])


def test_a_run_is_in_a_table_once(path):
  rows = [make_run('a', 0, 0.5), make_run('a', 0, 0.6), make_run('a', 0, 0.5, trial=0)]
  write_table(path, rows[1:])
  with pytest.raises(UserError, match='line 3 is the run of line 2 again'):
    write_table(path, rows)


def test_what_is_no_table_is_told(path, tmp_path):
  with pytest.raises(UserError, match='there is no table'):
    read_table(path)
  write_table(path, [make_run('a', 0, 0.5)])
  good = path.read_text()
  for text, message in (
    ('', "has no column 'study'"),
    (good.replace(',area', ''), "has no column 'area'"),
    (good.replace('study,setting', 'setting,study'), "a column 'setting' where 'study' belongs"),
    (good.replace('error\n', 'error,more\n'), "a column 'more' where 'no other' belongs"),
    (good + 'toy,digits\n', 'line 3 has 2 cells for 25 columns'),
    (good.replace(',cpu', ',"cpu'), 'line 2 is no CSV'),
  ):
    path.write_text(text)
    with pytest.raises(UserError, match=message):
      read_table(path)
  path.write_bytes(b'\xff')
  with pytest.raises(UserError, match='UTF-8'):
    read_table(path)
