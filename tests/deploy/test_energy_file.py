"""The file energy.json."""

import pytest

from mecl_jax.deploy.energy_file import Energy, load_energy, save_energy
from mecl_jax.errors import DamagedFile, MissingFile, UserError
from mecl_jax.files import read_json, write_checked_json
from tests.report import run_rows

TABLES = run_rows.of_energy()
ENERGY = Energy(
  '0' * 16, '1' * 16, 'mJ', TABLES['energy_settings'], TABLES['energy'], TABLES['energy_trace']
)


@pytest.fixture
def path(tmp_path):
  save_energy(tmp_path / 'energy.json', ENERGY)
  return tmp_path / 'energy.json'


def test_simulation_is_read_back(path):
  assert load_energy(path) == ENERGY
  assert ENERGY.tables == TABLES


def changed(fields, table, column, value):
  rows = [{**row, column: value} for row in fields[table]]
  return {**fields, table: rows}


@pytest.mark.parametrize(
  'change',
  [
    lambda fields: {**fields, 'rows': []},
    lambda fields: {**fields, 'rows': 'none'},
    lambda fields: {**fields, 'trace': [None]},
    lambda fields: {**fields, 'unit': 7},
    lambda fields: {**fields, 'unit': 'J'},  # no column has this unit
    lambda fields: {**fields, 'more': 1},
    lambda fields: {name: value for name, value in fields.items() if name != 'settings'},
    lambda fields: changed(fields, 'rows', 'right_share', None),
    lambda fields: changed(fields, 'trace', 'level:mJ', 'full'),
    lambda fields: {**fields, 'rows': [*fields['rows'], {'policy': 'greedy'}]},
  ],
)
def test_damaged_file_is_one_line(path, change):
  write_checked_json(path, change(read_json(path)))
  with pytest.raises(DamagedFile, match=r'is damaged: .*; --mode=energy simulates again') as caught:
    load_energy(path)
  assert '\n' not in str(caught.value)


def test_other_files_are_rejected(path, tmp_path):
  with pytest.raises(MissingFile, match='--mode=energy simulates again'):
    load_energy(tmp_path / 'none.json')
  path.write_bytes(path.read_bytes().replace(b'greedy', b'greedi', 1))
  with pytest.raises(DamagedFile, match='its checksum differs'):
    load_energy(path)
  fields = {'format': 'mecl_jax energy', 'version': 2}
  for change, message in (
    (fields, 'version 2, not 1'),
    ({'a': 1}, 'is not a file of a simulation'),
  ):
    write_checked_json(path, change)
    with pytest.raises(UserError, match=message):
      load_energy(path)
