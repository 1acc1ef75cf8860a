import dataclasses
import shutil

import numpy as np
import pytest

from mecl_jax.commands.evaluate import evaluate
from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from tests.runs import QUIET, run, score, stopped_at


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


@pytest.fixture
def begun(toy_config, tmp_path):
  """A run that was stopped in the phase that uses its scores."""
  with stopped_at(5):
    run(toy_config, tmp_path / 'run', **{'phases.backbone.duration': '4 steps'})
  assert (tmp_path / 'run/checkpoints/9').exists()
  return tmp_path / 'run'


def permuted(path):
  """Replaces scores by the same scores in another order, with a checksum that fits."""
  found = Difficulty.load(path)
  dataclasses.replace(found, score=found.score[::-1]).save(path)


def test_other_scores_than_training_began_with_are_rejected(toy_config, begun):
  permuted(begun / 'difficulty.npz')
  with pytest.raises(UserError, match='has other scores than training began with; restore'):
    run(toy_config, begun)


@pytest.mark.parametrize('loss', ['missing', 'damaged'])
def test_lost_scores_are_computed_again(loss, toy_config, begun, tmp_path):
  """The frozen backbone gives the same scores, so that the result is the same, bit for bit."""
  run(toy_config, shutil.copytree(begun, tmp_path / 'whole'))
  path = begun / 'difficulty.npz'
  path.write_bytes(path.read_bytes()[:-100])
  if loss == 'missing':
    path.unlink()
  run(toy_config, begun)
  one, other = (load_predictions(d / 'predictions.npz') for d in (begun, tmp_path / 'whole'))
  assert np.array_equal(one['test_logits'], other['test_logits'])
  assert Difficulty.load(path).digest == Difficulty.load(tmp_path / 'whole/difficulty.npz').digest


def test_lost_scores_of_a_changed_network_are_an_error(toy_config, tmp_path):
  toy_config.strategy = 'mixed'
  with stopped_at(3):
    run(toy_config, tmp_path, **{'phases.backbone.duration': '2 steps'})
  (tmp_path / 'difficulty.npz').unlink()
  with pytest.raises(UserError, match='was lost, and the scores computed again differ'):
    run(toy_config, tmp_path)
  assert not (tmp_path / 'difficulty.npz').exists()


def test_evaluation_rejects_other_scores(own):
  permuted(own / 'difficulty.npz')
  with pytest.raises(UserError, match='has other scores than the run trained with; restore it, or'):
    evaluate(own, console=QUIET)
  (own / 'difficulty.npz').write_bytes(b'')
  with pytest.raises(UserError, match=r'difficulty\.npz is not .*; delete the file to evaluate'):
    evaluate(own, console=QUIET)
  (own / 'difficulty.npz').unlink()
  assert evaluate(own, console=QUIET)['complete']


def test_run_of_random_order_is_scored_later(toy_config, ended, tmp_path):
  random_order = {'curriculum.order': 'random'}
  toy_config.update_from_flattened_dict(random_order)
  workdir = shutil.copytree(ended(**random_order), tmp_path / 'a')
  late = score(toy_config, workdir).score
  toy_config.curriculum.order = 'easy_first'
  assert np.array_equal(score(toy_config, tmp_path / 'b').score, late)
  toy_config.curriculum.order, toy_config.strategy = 'random', 'mixed'
  run(toy_config, tmp_path / 'mixed')
  with pytest.raises(UserError, match='is missing or damaged, but training with these scores has'):
    score(toy_config, tmp_path / 'mixed')


def test_invalid_score_file_stops_before_training(toy_config, tmp_path):
  (tmp_path / 's.csv').write_text('id,score\na,1\n')
  with pytest.raises(UserError, match='200 missing, 1 unknown'):
    score(toy_config, tmp_path / 'run', teacher='file', difficulty_file=str(tmp_path / 's.csv'))
  assert not list((tmp_path / 'run/checkpoints').glob('[0-9]*'))
  again = score(toy_config, tmp_path / 'run', teacher='final_exit', difficulty_file='')
  assert again.teacher == 'final_exit'
