import shutil

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from tests.runs import run, score


def test_scoring_first_changes_nothing(toy_config, ended, tmp_path):
  found = score(toy_config, tmp_path / 'a')
  assert not (tmp_path / 'a/summary.json').exists()
  drawn = {p.name for p in (tmp_path / 'a/report').iterdir()}
  assert drawn == {
    f'{n}.{k}' for n in ('easy_and_hard', 'pacing', 'scores') for k in ('png', 'svg')
  }
  run(toy_config, tmp_path / 'a')
  one, other = (load_predictions(d / 'predictions.npz') for d in (tmp_path / 'a', ended()))
  assert np.array_equal(one['test_logits'], other['test_logits'])
  assert np.array_equal(score(toy_config, tmp_path / 'a').score, found.score)  # of the ended run


def test_run_of_random_order_is_scored_later(toy_config, ended, tmp_path):
  random_order = {'curriculum.order': 'random'}
  toy_config.update_from_flattened_dict(random_order)
  workdir = shutil.copytree(ended(**random_order), tmp_path / 'a')
  late = score(toy_config, workdir).score
  toy_config.curriculum.order = 'easy_first'
  assert np.array_equal(score(toy_config, tmp_path / 'b').score, late)
  toy_config.curriculum.order, toy_config.strategy = 'random', 'mixed'
  run(toy_config, tmp_path / 'mixed')
  with pytest.raises(UserError, match='is missing, but training with these scores has begun'):
    score(toy_config, tmp_path / 'mixed')


def test_invalid_score_file_stops_before_training(toy_config, tmp_path):
  (tmp_path / 's.csv').write_text('id,score\na,1\n')
  with pytest.raises(UserError, match='200 missing, 1 unknown'):
    score(toy_config, tmp_path / 'run', teacher='file', difficulty_file=str(tmp_path / 's.csv'))
  assert not list((tmp_path / 'run/checkpoints').glob('[0-9]*'))
  again = score(toy_config, tmp_path / 'run', teacher='final_exit', difficulty_file='')
  assert again.teacher == 'final_exit'
