"""Learning speed: the record of correct predictions that a phase makes while it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.curriculum import scores
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.training import learning_speed
from tests.runs import run, score, stopped_at

pytestmark = pytest.mark.stacks


def test_learning_speed_is_recorded_in_training(toy_config, tmp_path):
  toy_config.phases.backbone.duration = '45 steps'  # of 20 of 200 examples: four epochs and a half
  found = score(toy_config, tmp_path, teacher='learning_speed')
  with np.load(tmp_path / 'learning_speed.npz') as file:
    learned, errors = file['learned'], file['errors']
    assert int(file['epochs']) == 4 and np.array_equal(file['id'], found.ids)
  assert ((errors <= learned) & (learned <= 4)).all() and len(set(learned)) > 2
  assert ((learned > 0) == (errors > 0)).all()
  assert np.array_equal(found.score, scores.learned_epoch(learned, errors, 4))
  assert np.array_equal(found.contradicted, learned == 4) and 0 < (learned == 4).sum() < 200
  assert found.measure == 'learned_epoch'


@pytest.mark.slow
@pytest.mark.usefixtures('rounded_as_outside')
def test_record_does_not_change_training(toy_config, tmp_path):
  run(toy_config, tmp_path / 'plain')
  assert not (tmp_path / 'plain/learning_speed.npz').exists()
  run(toy_config, tmp_path / 'noted', **{'curriculum.teacher': 'learning_speed'})
  assert (tmp_path / 'noted/learning_speed.npz').exists()
  mine, other = (load_predictions(tmp_path / d / 'predictions.npz') for d in ('plain', 'noted'))
  assert np.array_equal(mine['test_logits'][:, -1], other['test_logits'][:, -1])


@pytest.mark.parametrize('stop', [13, pytest.param(24, marks=pytest.mark.slow)])
def test_record_of_a_resumed_run_is_complete(toy_config, tmp_path, stop):
  """Also if it stopped at the last step of the phase."""
  toy_config.phases.backbone.duration = '24 steps'
  with stopped_at(stop):
    score(toy_config, tmp_path / 'stopped', teacher='learning_speed')
  assert not (tmp_path / 'stopped/difficulty.npz').exists()
  stopped, whole = (score(toy_config, tmp_path / name) for name in ('stopped', 'whole'))
  np.testing.assert_array_equal(stopped.score, whole.score)
  records = [learning_speed.load(tmp_path / name, whole.ids) for name in ('stopped', 'whole')]
  jax.tree.map(np.testing.assert_array_equal, *records)


def test_learning_speed_needs_a_whole_epoch(toy_config, tmp_path):
  toy_config.phases.backbone.duration = '9 steps'
  message = 'at least one epoch, 10 steps, and phase backbone has 9; raise phases.backbone.duration'
  with pytest.raises(UserError, match=message):
    score(toy_config, tmp_path, teacher='learning_speed')


def test_record_equals_the_history():
  rng = np.random.default_rng(0)
  wrong = rng.random((5, 12)) < 0.4  # [epochs, examples]
  memory = jax.tree.map(jnp.asarray, learning_speed.empty_record(12))
  shown = np.concatenate([rng.permutation(12) for _ in range(5)])
  epochs = learning_speed.epochs_of(range(12), 5, 12, recorded=4)
  assert epochs.shape == (12, 5) and epochs.max() == 3 and epochs[-1].tolist() == [-1] * 5
  for ids, epoch in zip(shown.reshape(12, 5), epochs, strict=True):  # batches of 5 straddle epochs
    memory = learning_speed.updated(memory, ids, epoch, wrong[np.maximum(epoch, 0), ids])
  history = wrong[:4]
  assert np.array_equal(memory['errors'], history.sum(axis=0))
  last = np.where(history, np.arange(1, 5)[:, None], 0).max(axis=0)
  assert np.array_equal(memory['learned'], last)
