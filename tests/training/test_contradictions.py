"""Training without the examples whose labels the teacher contradicts."""

import dataclasses

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.training.batches import batch_maker, make_curriculum
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.run import set_up_run
from tests.runs import QUIET, run, score, stopped_at

SCORE = np.random.default_rng(0).permutation(200) / 200


def made(c, workdir, wrong, order='none', steps=range(12)):
  """Returns the curriculum, the easiness and the batches of a joint run, and its labels."""
  c.strategy, c.curriculum.order, c.curriculum.contradicted = 'joint', order, 'drop'
  c.curriculum.sample_weights = 'easy_weighted'
  with Interruption() as interruption:
    opened = set_up_run(resolve(c), workdir, Console(quiet=True), interruption)
  (plan,) = opened.plans
  difficulty = Difficulty(opened.dataset.train.ids, SCORE, 'a teacher', '', '', '', wrong)
  curriculum, easiness = make_curriculum(opened, plan, difficulty)
  batches = batch_maker(opened, plan, curriculum, easiness, streamed=False)(steps)
  return curriculum, easiness, batches, opened.dataset.train.labels


@pytest.mark.parametrize('order', ['none', 'easy_first', 'anti', 'random'])
def test_contradicted_examples_are_never_drawn(toy_config, tmp_path, order):
  wrong = np.random.default_rng(1).random(200) < 0.3
  toy_config.curriculum.start = 1.0
  curriculum, _, batches, labels = made(toy_config, tmp_path, wrong, order)
  assert sorted(curriculum.order) == np.flatnonzero(~wrong).tolist()
  assert batches.ids.shape == (12, 20)  # 240 draws from fewer than 160
  assert set(batches.ids.ravel()) == set(np.flatnonzero(~wrong))
  np.testing.assert_allclose(batches.weights.mean(axis=1), 1, rtol=1e-6)
  if order != 'none':  # balanced by class without them
    assert (np.bincount(labels[curriculum.order[:80]]) == 20).all()


def test_easiness_ranks_the_examples_that_are_left(toy_config, tmp_path):
  wrong = SCORE >= 0.5
  toy_config.curriculum.class_balanced = False
  _, easiness, _, _ = made(toy_config, tmp_path, wrong)
  by_ease = np.argsort(SCORE)[:100]
  np.testing.assert_allclose(easiness[by_ease], np.linspace(1, 0, 100))


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    (lambda labels: labels == 2, 'leaves no example of class 2; use another teacher'),
    (
      lambda labels: np.arange(200) > 18,
      'leaves 19 of 200 training examples, and batch_size is 20',
    ),
    (lambda labels: None, 'those of a teacher lack it'),
  ],
)
def test_too_few_examples_are_rejected(toy_config, tmp_path, wrong, message):
  with Interruption() as interruption:
    labels = set_up_run(resolve(toy_config), tmp_path, Console(quiet=True), interruption)
  with pytest.raises(UserError, match=message) as error:
    made(toy_config, tmp_path, wrong(labels.dataset.train.labels))
  assert '\n' not in str(error.value) and 'curriculum.contradicted' in str(error.value)


def test_wrong_labels_are_dropped_in_training(toy_config, tmp_path):
  """The backbone trains on all images, and the heads on those that it does not contradict."""
  c = toy_config
  c.data.label_noise, c.phases.backbone.duration = 0.2, '60 steps'
  c.curriculum.order, c.curriculum.contradicted = 'none', 'drop'
  summary = run(c, tmp_path)['curriculum']
  found = Difficulty.load(tmp_path / 'difficulty.npz')
  with np.load(tmp_path / 'label_noise.npz') as noise:
    flipped = np.isin(found.ids, noise['id'])
  assert summary['contradicted'] == 'drop' and summary['teacher'] == 'final_exit'
  assert summary['dropped'] == found.contradicted.sum() > 0
  assert summary['dropped_wrong'] == (found.contradicted & flipped).sum() > 20
  assert summary['visible_at_start'] == (~found.contradicted).mean()
  (tmp_path / 'difficulty.npz').unlink()
  assert evaluate(tmp_path, console=QUIET)['curriculum']['visible_at_start'] is None


@pytest.mark.slow
def test_dropping_resumes_bit_identical(toy_config, tmp_path):
  toy_config.curriculum.contradicted = 'drop'
  toy_config.phases.backbone.duration, toy_config.phases.heads.duration = '30 steps', '40 steps'
  with stopped_at(35):  # in the phase of the heads
    run(toy_config, tmp_path / 'stopped')
  results = []
  for name in ('stopped', 'whole'):
    run(toy_config, tmp_path / name)
    results.append(load_predictions(tmp_path / name / 'predictions.npz')['test_logits'])
  assert np.array_equal(*results)


@pytest.mark.parametrize('contradicted', ['keep', 'drop'])
def test_resumed_run_must_drop_the_same_examples(toy_config, tmp_path, contradicted):
  c = toy_config
  c.curriculum.contradicted, c.curriculum.order = contradicted, 'easy_first'
  c.phases.backbone.duration, c.phases.heads.duration = '30 steps', '40 steps'
  with stopped_at(35):  # in the phase of the heads
    run(c, tmp_path)
  path = tmp_path / 'difficulty.npz'
  found = Difficulty.load(path)
  others = found.contradicted ^ (np.arange(200) == np.flatnonzero(~found.contradicted)[0])
  dataclasses.replace(found, contradicted=others).save(path)
  if contradicted == 'keep':
    assert run(c, tmp_path)['complete']
  else:
    with pytest.raises(UserError, match='has other scores than training began with'):
      run(c, tmp_path)


def test_scores_of_another_run_hold_contradictions(toy_config, tmp_path):
  toy_config.phases.backbone.duration = '30 steps'
  given = score(toy_config, tmp_path / 'first')
  path = str(tmp_path / 'first/difficulty.npz')
  found = score(
    toy_config, tmp_path / 'second', teacher='file', difficulty_file=path, measure='auto'
  )
  assert given.contradicted.any() and np.array_equal(found.contradicted, given.contradicted)
