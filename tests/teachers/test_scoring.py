import itertools
import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.configuration import resolve
from mecl_jax.commands.train import score, train
from mecl_jax.curriculum import Difficulty, scores
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions, predict
from mecl_jax.teachers import cross_validation, plain_run, transfer
from mecl_jax.training import loop, record
from mecl_jax.training.interruption import Interrupted, Interruption
from mecl_jax.training.networks import load_network_for
from mecl_jax.training.plan import make_plan
from mecl_jax.training.run import set_up_run
from tests.toys import make_arrays, make_config

QUIET = Console(quiet=True)


def run(c, workdir, **changes):
  c.update_from_flattened_dict(changes)
  return train(c, workdir, console=QUIET)


def ask(c, workdir, **changes):
  """The scores of a run's teacher."""
  c.update_from_flattened_dict({f'curriculum.{field}': v for field, v in changes.items()})
  return score(workdir, c, console=QUIET)


@pytest.fixture(scope='module')
def taught(ended):
  """A run that has ended, for others to ask."""
  return ended(**{'curriculum.teacher': 'learning_speed'})


@pytest.fixture(scope='module')
def logits_and_labels(taught):
  """What the exits of that run say of the training images."""
  c = resolve(config.read(taught / 'config.json'))
  with Interruption() as interruption:
    opened = set_up_run(c, taught, QUIET, interruption)
  model = load_network_for(opened, taught)
  return predict(model, opened.dataset.train.images), opened.dataset.train.labels


@pytest.mark.parametrize('measure', scores.MEASURES)
@pytest.mark.parametrize(('exit_name', 'index'), [('stage1', 0), ('final', 2)])
def test_any_exit_of_another_run_scores_by_any_measure(
  toy_config, taught, logits_and_labels, tmp_path, measure, exit_name, index
):
  asked = {'teacher': 'checkpoint', 'teacher_workdir': str(taught), 'teacher_exit': exit_name}
  found = ask(toy_config, tmp_path, measure=measure, **asked)
  logits, labels = logits_and_labels
  expected = scores.MEASURES[measure](logits[:, index], labels)
  np.testing.assert_allclose(found.score, expected, rtol=1e-5)
  assert found.measure == measure
  assert found.teacher == ('checkpoint, stage1' if index == 0 else 'checkpoint')


def test_prediction_depth_is_of_the_exits(toy_config, taught, logits_and_labels, tmp_path):
  found = ask(toy_config, tmp_path, teacher='prediction_depth', teacher_workdir=str(taught))
  assert np.array_equal(found.score, scores.prediction_depth(*logits_and_labels))
  assert set(np.floor(found.score)) == {0, 1, 2}


def test_prediction_depth_makes_a_plain_run_if_it_is_given_none(toy_config, tmp_path):
  ask(toy_config, tmp_path, teacher='prediction_depth')
  plain = json.loads((tmp_path / 'teacher/summary.json').read_text())
  assert plain['curriculum']['order'] == 'none' and len(plain['exits']) == 3


@pytest.mark.parametrize('classifier', ['svc', 'logistic_regression'])
def test_transfer_fits_a_classifier_to_features(toy_config, taught, tmp_path, classifier):
  asked = {'teacher': 'transfer', 'teacher_workdir': str(taught), 'classifier': classifier}
  found = ask(toy_config, tmp_path, **asked)
  assert found.teacher == 'transfer' and ((found.score > 0) & (found.score < 1)).all()
  assert not (tmp_path / 'checkpoints/12').exists()  # no backbone was trained for it


def test_transfer_takes_a_network_of_other_data(taught, tmp_path):
  """Other images, other classes: only the features count."""
  np.savez(tmp_path / 'other.npz', **make_arrays(classes=3, seed=1))
  c = make_config(tmp_path / 'other.npz')
  found = ask(c, tmp_path / 'run', teacher='transfer', teacher_workdir=str(taught))
  assert np.isfinite(found.score).all()
  rgb = {k: v.repeat(3, -1) if 'images' in k else v for k, v in make_arrays(seed=1).items()}
  np.savez(tmp_path / 'rgb.npz', **rgb)
  with pytest.raises(UserError, match='images of 1 channels; those of toy have 3'):
    c = make_config(tmp_path / 'rgb.npz')
    ask(c, tmp_path / 'rgb', teacher='transfer', teacher_workdir=str(taught))


def test_the_classifiers_of_transfer_find_the_odd_ones():
  """Two clouds, and ten points with the label of the other."""
  rng = np.random.default_rng(0)
  labels = np.arange(200) % 2
  features = rng.normal(size=(200, 3)) + 4 * labels[:, None]
  labels[:10] = 1 - labels[:10]
  for classifier in ('svc', 'logistic_regression', 'auto'):
    logits = transfer.log_probabilities(features, labels, classifier, seed=0)
    hardest = np.argsort(-scores.confidence(logits, labels))[:10]
    assert set(hardest) == set(range(10))
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1)


def test_a_class_of_one_or_none_is_no_obstacle():
  labels = np.array([0] * 8 + [2] * 7 + [3])  # none of class 1
  for classifier in ('svc', 'logistic_regression'):
    logits = transfer.log_probabilities(np.eye(16), labels, classifier, seed=0)
    assert logits.shape == (16, 4) and np.isfinite(logits).all()


def test_cross_validated_scores_are_of_held_out_examples(toy_config, tmp_path):
  found = ask(toy_config, tmp_path, teacher='cross_validated', folds=2, repeats=2)
  total, times = np.zeros(200), np.zeros(200, int)
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
      cuts.append(tuple(where))
      assert json.loads((workdir / 'summary.json').read_text())['exits'][-1]['name'] == 'final'
  assert (times == 2).all() and len(set(cuts)) == 4
  np.testing.assert_allclose(found.score, total / 2)
  assert found.measure == 'loss'
  summary = run(toy_config, tmp_path)
  assert summary['curriculum']['teacher_steps'] == 4 * 12


def test_a_run_that_teaches_has_no_wishes_of_the_one_it_teaches(toy_config):
  toy_config.evaluation.policy_file = 'of_three_exits.json'  # a fold has one
  assert plain_run.plain_config(toy_config).evaluation == config.default().evaluation


def test_a_class_smaller_than_the_folds_is_an_error(tmp_path):
  arrays = make_arrays()
  arrays['train_labels'][arrays['train_labels'] == 3] = 0
  arrays['train_labels'][:4] = 3
  np.savez(tmp_path / 'few.npz', **arrays)
  c = make_config(tmp_path / 'few.npz')
  with pytest.raises(UserError, match=r'folds is 10, but 1 of 4 classes .*class 3 has 4\)'):
    ask(c, tmp_path / 'run', teacher='cross_validated', folds=10)


def test_learning_speed_is_recorded_while_the_backbone_trains(toy_config, tmp_path):
  toy_config.phases.backbone.duration = '45 steps'  # of 20 of 200 examples: four epochs and a half
  found = ask(toy_config, tmp_path, teacher='learning_speed')
  with np.load(tmp_path / 'learning_speed.npz') as file:
    learned, errors = file['learned'], file['errors']
    assert int(file['epochs']) == 4 and np.array_equal(file['id'], found.ids)
  assert ((errors <= learned) & (learned <= 4)).all() and len(set(learned)) > 2
  assert ((learned > 0) == (errors > 0)).all()
  assert np.array_equal(found.score, scores.learned_epoch(learned, errors, 4))
  assert found.measure == 'learned_epoch'


@pytest.mark.usefixtures('rounded_as_outside')
def test_the_record_does_not_change_the_training(toy_config, tmp_path):
  run(toy_config, tmp_path / 'plain')
  assert not (tmp_path / 'plain/learning_speed.npz').exists()
  run(toy_config, tmp_path / 'noted', **{'curriculum.teacher': 'learning_speed'})
  assert (tmp_path / 'noted/learning_speed.npz').exists()
  mine, other = (load_predictions(tmp_path / d / 'predictions.npz') for d in ('plain', 'noted'))
  assert np.array_equal(mine['test_logits'][:, -1], other['test_logits'][:, -1])


def test_the_record_of_a_stopped_run_is_that_of_a_whole_one(toy_config, tmp_path):
  toy_config.phases.backbone.duration = '30 steps'
  toy_config.checkpoints.every_seconds, toy_config.checkpoints.keep = 0.0, 100
  ask(toy_config, tmp_path / 'whole', teacher='learning_speed')
  shutil.copytree(tmp_path / 'whole', tmp_path / 'stopped')
  for path in (tmp_path / 'stopped/checkpoints').iterdir():
    if path.name.isdigit() and int(path.name) > 13:
      shutil.rmtree(path)
  for name in ('learning_speed.npz', 'difficulty.npz'):
    (tmp_path / 'stopped' / name).unlink()
  ask(toy_config, tmp_path / 'stopped')
  whole, stopped = (
    record.load(tmp_path / name, Difficulty.load(tmp_path / 'whole/difficulty.npz').ids)
    for name in ('whole', 'stopped')
  )
  jax.tree.map(np.testing.assert_array_equal, whole, stopped)


def test_a_stop_at_the_last_step_of_a_phase_loses_no_record(toy_config, tmp_path, monkeypatch):
  made = loop.make_step

  def make_step(*given, **more):
    step, numbers = made(*given, **more), itertools.count(1)

    def stopped_at_last(*arguments):
      if next(numbers) == 12:
        signal.raise_signal(signal.SIGTERM)
      return step(*arguments)

    return stopped_at_last

  monkeypatch.setattr(loop, 'make_step', make_step)
  with pytest.raises(Interrupted):
    ask(toy_config, tmp_path / 'stopped', teacher='learning_speed')
  assert not (tmp_path / 'stopped/difficulty.npz').exists()
  monkeypatch.undo()
  stopped, whole = (ask(toy_config, tmp_path / name) for name in ('stopped', 'whole'))
  np.testing.assert_array_equal(stopped.score, whole.score)


def test_learning_speed_needs_a_whole_epoch(toy_config, tmp_path):
  toy_config.phases.backbone.duration = '9 steps'
  message = 'whole epochs of 10 steps, and phase backbone has 9; raise phases.backbone.duration'
  with pytest.raises(UserError, match=message):
    ask(toy_config, tmp_path, teacher='learning_speed')


def test_noted_is_what_a_history_says():
  rng = np.random.default_rng(0)
  wrong = rng.random((5, 12)) < 0.4  # [epochs, examples]
  memory = jax.tree.map(jnp.asarray, record.empty_record(12))
  shown = np.concatenate([rng.permutation(12) for _ in range(5)])
  epochs = record.epochs_of(range(12), 5, 12, recorded=4)
  assert epochs.shape == (12, 5) and epochs.max() == 3 and epochs[-1].tolist() == [-1] * 5
  for ids, epoch in zip(shown.reshape(12, 5), epochs, strict=True):  # batches of 5 straddle epochs
    memory = record.noted(memory, ids, epoch, wrong[np.maximum(epoch, 0), ids])
  history = wrong[:4]
  assert np.array_equal(memory['errors'], history.sum(axis=0))
  last = np.where(history, np.arange(1, 5)[:, None], 0).max(axis=0)
  assert np.array_equal(memory['learned'], last)


def difficulty(workdir):
  return Difficulty.load(workdir / 'difficulty.npz')


def test_difficulty_is_of_the_final_exit_of_the_trained_backbone(ended):
  found = difficulty(ended())
  assert found.teacher == 'final_exit' and found.dataset == 'toy'
  assert len(found.ids) == 200 and found.ids[0].startswith('train_')
  assert ((found.score >= 0) & (found.score <= 1)).all()


def test_a_checkpoint_or_its_file_teaches_another_run(toy_config, ended, tmp_path):
  teacher = {'curriculum.teacher': 'checkpoint', 'curriculum.teacher_workdir': str(ended())}
  run(toy_config, tmp_path / 'b', strategy='joint', **teacher)
  np.testing.assert_allclose(difficulty(tmp_path / 'b').score, difficulty(ended()).score, atol=1e-6)
  assert difficulty(tmp_path / 'b').teacher == 'checkpoint'
  given = {
    'curriculum.teacher': 'file',
    'curriculum.difficulty_file': str(tmp_path / 'b/difficulty.npz'),
    'curriculum.teacher_workdir': '',
  }
  run(toy_config, tmp_path / 'c', **given)
  assert np.array_equal(difficulty(tmp_path / 'c').score, difficulty(tmp_path / 'b').score)


def test_self_taught_makes_a_plain_run_first(ended):
  plain = json.loads((ended(strategy='joint') / 'teacher/summary.json').read_text())
  assert plain['curriculum']['order'] == 'none' and plain['strategy'] == 'joint'


def test_a_difficulty_file_for_other_data_is_refused(toy_config, ended, tmp_path):
  file = ended() / 'difficulty.npz'
  given = {'curriculum.teacher': 'file', 'curriculum.difficulty_file': str(file)}
  with pytest.raises(
    UserError, match=r'210 examples: 10 missing \(it has scores of final_exit for toy\)'
  ):
    run(toy_config, tmp_path / 'b', **{**given, 'data.validation_size': 30})


def test_the_same_ids_of_other_images_are_refused(toy_config, toy_file, ended, tmp_path):
  with np.load(toy_file) as arrays:
    other = {**arrays, 'train_images': 255 - arrays['train_images']}
  np.savez(tmp_path / 'other.npz', **other)
  given = {
    'curriculum.teacher': 'file',
    'curriculum.difficulty_file': str(ended() / 'difficulty.npz'),
    'data.arrays': str(tmp_path / 'other.npz'),
  }
  with pytest.raises(UserError, match='made for other data'):
    run(toy_config, tmp_path / 'b', **given)


def test_a_teacher_that_saw_other_data_is_refused(toy_config, ended, tmp_path):
  given = {'curriculum.teacher': 'checkpoint', 'curriculum.teacher_workdir': str(ended())}
  with pytest.raises(UserError, match='saw other data than this run'):
    run(toy_config, tmp_path / 'b', **{**given, 'data.split_seed': 1})


def test_a_teacher_without_a_run_is_an_error(toy_config, tmp_path):
  given = {'curriculum.teacher': 'checkpoint', 'curriculum.teacher_workdir': str(tmp_path / 'no')}
  with pytest.raises(UserError, match='holds no run'):
    run(toy_config, tmp_path / 'b', **given)


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_scores_can_be_taken_elsewhere_and_read_back(toy_config, taught, tmp_path, suffix):
  import pyarrow
  from pyarrow import csv, parquet

  own = difficulty(taught)
  shuffled = np.random.default_rng(0).permutation(200)
  table = pyarrow.table({'id': own.ids[shuffled].tolist(), 'score': own.score[shuffled]})
  path = tmp_path / f'scores.{suffix}'
  {'csv': csv.write_csv, 'parquet': parquet.write_table}[suffix](table, path)
  found = ask(toy_config, tmp_path / 'run', teacher='file', difficulty_file=str(path))
  np.testing.assert_allclose(found.score, own.score)
  assert found.teacher == f'file: scores.{suffix}'
  table = table.slice(3).append_column('more', [['x'] * 197])
  {'csv': csv.write_csv, 'parquet': parquet.write_table}[suffix](table, path)
  with pytest.raises(UserError, match='200 examples: 3 missing'):
    ask(toy_config, tmp_path / 'other')


def test_a_bad_file_is_told_before_the_backbone_is_trained(toy_config, tmp_path):
  (tmp_path / 's.csv').write_text('id,score\na,1\n')
  with pytest.raises(UserError, match='200 missing, 1 unknown'):
    ask(toy_config, tmp_path / 'run', teacher='file', difficulty_file=str(tmp_path / 's.csv'))
  assert not list((tmp_path / 'run/checkpoints').glob('[0-9]*'))
  again = ask(toy_config, tmp_path / 'run', teacher='final_exit', difficulty_file='')
  assert again.teacher == 'final_exit'


def test_scoring_first_changes_nothing(toy_config, ended, tmp_path):
  found = ask(toy_config, tmp_path / 'a')
  assert not (tmp_path / 'a/summary.json').exists()
  assert sorted(p.name for p in (tmp_path / 'a/report').iterdir()) == [
    'easy_and_hard.png', 'pacing.png', 'scores.png'
  ]  # fmt: skip
  run(toy_config, tmp_path / 'a')
  one, other = (load_predictions(d / 'predictions.npz') for d in (tmp_path / 'a', ended()))
  assert np.array_equal(one['test_logits'], other['test_logits'])
  assert np.array_equal(ask(toy_config, tmp_path / 'a').score, found.score)  # of the ended run


def test_a_run_that_needed_no_scores_is_scored_later_while_its_backbone_is_as_it_was(
  toy_config, ended, tmp_path
):
  random_order = {'curriculum.order': 'random'}
  toy_config.update_from_flattened_dict(random_order)
  workdir = shutil.copytree(ended(**random_order), tmp_path / 'a')
  late = ask(toy_config, workdir).score
  toy_config.curriculum.order = 'easy_first'
  assert np.array_equal(ask(toy_config, tmp_path / 'b').score, late)
  toy_config.curriculum.order, toy_config.strategy = 'random', 'mixed'
  run(toy_config, tmp_path / 'mixed')
  with pytest.raises(UserError, match='training has begun without it'):
    ask(toy_config, tmp_path / 'mixed')


def test_a_stop_between_two_folds_is_obeyed(toy_config, tmp_path, monkeypatch):
  """Between folds no training is there to see the signal."""

  def interrupted(path):
    signal.raise_signal(signal.SIGTERM)
    return load_predictions(path)

  monkeypatch.setattr(cross_validation.predictions, 'load_predictions', interrupted)
  with pytest.raises(Interrupted):
    ask(toy_config, tmp_path, teacher='cross_validated', folds=3)
  assert [p.name for p in (tmp_path / 'teacher').iterdir()] == ['repeat0_fold0']


@pytest.mark.parametrize(
  ('size', 'batch', 'duration', 'epochs'),
  [(45000, 128, '6 epochs', 6), (45000, 128, '2 epochs', 2), (1238, 64, '1 epochs', 1),
   (162, 30, '81 steps', 15), (162, 30, '80 steps', 14), (45000, 128, '6.5 epochs', 6)],
)  # fmt: skip
def test_epochs_are_counted_whatever_their_duration_is_rounded_to(size, batch, duration, epochs):
  c = config.default()
  c.batch_size, c.phases.backbone.duration = batch, duration
  c.curriculum.teacher = 'learning_speed'
  exits = ('stage1', 'stage2', 'final')
  first, second = make_plan(resolve(c), exits, [exits[:1]] * 3, size, num_classes=10)
  assert first.recorded == epochs and not second.recorded
