import json
import signal

import numpy as np
import pytest

from mecl_jax.curriculum import scores
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.teachers import cross_validation
from mecl_jax.training.interruption import Interrupted
from tests.runs import run, score
from tests.toys import make_arrays, make_config


def test_cross_validated_scores_held_out_examples(toy_config, tmp_path):
  found = score(toy_config, tmp_path, teacher='cross_validated', folds=2, repeats=2)
  total, times, wrong = np.zeros(200), np.zeros(200, int), np.zeros(200, int)
  cuts = []
  for repeat in range(2):
    for fold in range(2):
      workdir = tmp_path / f'teacher/repeat{repeat}_fold{fold}'
      held_out = load_predictions(workdir / 'predictions.npz')
      where = np.searchsorted(found.ids, held_out['test_ids'])
      assert np.array_equal(found.ids[where], held_out['test_ids'])
      counts = np.bincount(held_out['test_labels'])
      assert counts.max() - counts.min() <= 1  # stratified
      total[where] += scores.loss(held_out['test_logits'][:, -1], held_out['test_labels'])
      times[where] += 1
      wrong[where] += held_out['test_logits'][:, -1].argmax(axis=-1) != held_out['test_labels']
      cuts.append(tuple(where))
      assert json.loads((workdir / 'summary.json').read_text())['exits'][-1]['name'] == 'final'
  assert (times == 2).all() and len(set(cuts)) == 4
  np.testing.assert_allclose(found.score, total / 2)
  assert np.array_equal(found.contradicted, wrong == 2) and set(wrong) == {0, 1, 2}
  assert found.measure == 'loss'
  summary = run(toy_config, tmp_path)
  assert summary['curriculum']['teacher_steps'] == 4 * 12


def test_folds_train_without_strengths_of_exits(toy_config, tmp_path):
  # A fold has the final exit only.
  c = toy_config.curriculum
  c.sample_weights, c.exit_strengths, c.easy_end = 'easy_weighted', (0.4, 0.2, 0), (0.1, 0.1, 0)
  assert len(score(toy_config, tmp_path, teacher='cross_validated', folds=2, repeats=1).score)


def test_class_smaller_than_the_folds_is_rejected(tmp_path):
  arrays = make_arrays()
  arrays['train_labels'][arrays['train_labels'] == 3] = 0
  arrays['train_labels'][:4] = 3
  np.savez(tmp_path / 'few.npz', **arrays)
  c = make_config(tmp_path / 'few.npz')
  with pytest.raises(UserError, match=r'folds is 10, but 1 of 4 classes .*class 3 has 4\)'):
    score(c, tmp_path / 'run', teacher='cross_validated', folds=10)


def test_signal_between_folds_stops_the_run(toy_config, tmp_path, monkeypatch):
  """Between folds, no training checks for signals."""

  def interrupted(path):
    signal.raise_signal(signal.SIGTERM)
    return load_predictions(path)

  monkeypatch.setattr(cross_validation.predictions, 'load_predictions', interrupted)
  with pytest.raises(Interrupted):
    score(toy_config, tmp_path, teacher='cross_validated', folds=3)
  assert [p.name for p in (tmp_path / 'teacher').iterdir()] == ['repeat0_fold0']
