"""A study of the signals of a curriculum."""

import pytest
from rich.console import Console

from experiments.paired import sweep
from experiments.paired.study import Arm
from experiments.paired.table import read_table, records
from tests.experiments.studies import make_study


@pytest.mark.slow
def test_signals_of_a_curriculum_train_on_a_shared_backbone(toy_file, tmp_path):
  """None of them changes another arm, and each changes the heads."""
  fields = {
    'standard': {},
    'changing': {'sample_weights': 'easy_weighted', 'easy_end': (-0.8,)},
    'own': {'sample_weights': 'own_confidence', 'exit_strengths': (0.9,)},
    'dropped': {'contradicted': 'drop'},
    'again': {},
  }
  arms = {
    arm: Arm({f'curriculum.{name}': value for name, value in {'order': 'none', **more}.items()})
    for arm, more in fields.items()
  }
  backbone = {'phases.joint.duration': '3 epochs'}
  study = make_study(toy_file, arms=arms, backbone=backbone, budgets=(8,))
  assert not sweep.sweep(study, 'tiny', tmp_path / 'tiny', console=Console(quiet=True))
  rows = {row['arm']: row for row in records(read_table(tmp_path / 'tiny' / 'runs.csv'))}
  assert set(rows) == set(arms) and not any(row['error'] for row in rows.values())
  columns = ('validation_exit1', 'validation_exit2', 'test_exit1', 'test_exit2', 'area')
  found = {arm: tuple(row[column] for column in columns) for arm, row in rows.items()}
  assert found.pop('again') == found['standard']
  assert len(set(found.values())) == 4
