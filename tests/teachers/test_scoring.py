import json

import numpy as np
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import Difficulty, scores
from mecl_jax.errors import UserError
from mecl_jax.evaluation import predict
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.networks import load_network_for
from mecl_jax.training.run import set_up_run
from tests.runs import run, score
from tests.toys import make_arrays, make_config

QUIET = Console(quiet=True)
OTHER_MEASURES = sorted(scores.MEASURES.keys() - {'confidence', 'loss'})


@pytest.fixture(scope='module')
def taught(ended):
  """A run that has ended, whose network scores for others."""
  return ended(**{'curriculum.teacher': 'learning_speed'})


@pytest.fixture(scope='module')
def logits_and_labels(taught):
  """The logits of that run for the training images [N, exits, classes], and their labels."""
  c = resolve(config.read(taught / 'config.json'))
  with Interruption() as interruption:
    opened = set_up_run(c, taught, QUIET, interruption)
  model = load_network_for(opened, taught)
  return predict(model, opened.dataset.train.images), opened.dataset.train.labels


@pytest.mark.parametrize(
  ('measure', 'exit_name', 'index'),
  [
    ('confidence', 'final', 2),
    ('loss', 'stage1', 0),
    *(pytest.param(name, 'final', 2, marks=pytest.mark.slow) for name in OTHER_MEASURES),
  ],
)
def test_any_exit_scores_by_any_measure(
  toy_config, taught, logits_and_labels, tmp_path, measure, exit_name, index
):
  fields = {'teacher': 'checkpoint', 'teacher_workdir': str(taught), 'teacher_exit': exit_name}
  found = score(toy_config, tmp_path, measure=measure, **fields)
  logits, labels = logits_and_labels
  expected = scores.MEASURES[measure](logits[:, index], labels)
  np.testing.assert_allclose(found.score, expected, rtol=1e-5)
  assert found.measure == measure
  assert found.teacher == ('checkpoint, stage1' if index == 0 else 'checkpoint')
  assert np.array_equal(found.contradicted, logits[:, index].argmax(axis=-1) != labels)


def test_prediction_depth_uses_all_exits(toy_config, taught, logits_and_labels, tmp_path):
  found = score(toy_config, tmp_path, teacher='prediction_depth', teacher_workdir=str(taught))
  assert np.array_equal(found.score, scores.prediction_depth(*logits_and_labels))
  assert len(set(np.floor(found.score))) > 1
  logits, labels = logits_and_labels
  assert np.array_equal(found.contradicted, logits[:, 2].argmax(axis=-1) != labels)


def test_prediction_depth_trains_a_plain_run(toy_config, tmp_path):
  score(toy_config, tmp_path, teacher='prediction_depth')
  plain = json.loads((tmp_path / 'teacher/summary.json').read_text())
  assert plain['curriculum']['order'] == 'none' and len(plain['exits']) == 3


@pytest.mark.parametrize('classifier', ['svc', 'logistic_regression'])
def test_transfer_fits_a_classifier_to_features(toy_config, taught, tmp_path, classifier):
  fields = {'teacher': 'transfer', 'teacher_workdir': str(taught), 'classifier': classifier}
  found = score(toy_config, tmp_path, **fields)
  assert found.teacher == 'transfer' and ((found.score > 0) & (found.score < 1)).all()
  assert not (tmp_path / 'checkpoints/12').exists()  # no backbone was trained for it


def test_transfer_accepts_a_network_of_other_data(taught, tmp_path):
  """Other images, other classes: only the features count."""
  np.savez(tmp_path / 'other.npz', **make_arrays(classes=3, seed=1))
  c = make_config(tmp_path / 'other.npz')
  found = score(c, tmp_path / 'run', teacher='transfer', teacher_workdir=str(taught))
  assert np.isfinite(found.score).all()
  rgb = {k: v.repeat(3, -1) if 'images' in k else v for k, v in make_arrays(seed=1).items()}
  np.savez(tmp_path / 'rgb.npz', **rgb)
  with pytest.raises(UserError, match='images of 1 channels; those of toy have 3'):
    c = make_config(tmp_path / 'rgb.npz')
    score(c, tmp_path / 'rgb', teacher='transfer', teacher_workdir=str(taught))


def difficulty(workdir):
  return Difficulty.load(workdir / 'difficulty.npz')


def test_final_exit_scores_by_default(ended):
  found = difficulty(ended())
  assert found.teacher == 'final_exit' and found.dataset == 'toy'
  assert len(found.ids) == 200 and found.ids[0].startswith('train_')
  assert ((found.score >= 0) & (found.score <= 1)).all()


def test_checkpoint_or_its_file_teaches_another_run(toy_config, ended, tmp_path):
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


def test_self_taught_trains_a_plain_run_first(ended):
  plain = json.loads((ended(strategy='joint') / 'teacher/summary.json').read_text())
  assert plain['curriculum']['order'] == 'none' and plain['strategy'] == 'joint'


def test_difficulty_file_of_other_data_is_rejected(toy_config, ended, tmp_path):
  file = ended() / 'difficulty.npz'
  given = {'curriculum.teacher': 'file', 'curriculum.difficulty_file': str(file)}
  with pytest.raises(
    UserError, match=r'210 examples: 10 missing \(it has scores of final_exit for toy\)'
  ):
    run(toy_config, tmp_path / 'b', **{**given, 'data.validation_size': 30})


def test_same_ids_of_other_images_are_rejected(toy_config, toy_file, ended, tmp_path):
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


def test_teacher_of_other_data_is_rejected(toy_config, ended, tmp_path):
  given = {'curriculum.teacher': 'checkpoint', 'curriculum.teacher_workdir': str(ended())}
  with pytest.raises(UserError, match='was trained on other data than this run'):
    run(toy_config, tmp_path / 'b', **{**given, 'data.split_seed': 1})


def test_teacher_without_a_run_is_rejected(toy_config, tmp_path):
  given = {'curriculum.teacher': 'checkpoint', 'curriculum.teacher_workdir': str(tmp_path / 'no')}
  with pytest.raises(UserError, match='is not the work directory of a run'):
    run(toy_config, tmp_path / 'b', **given)


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_scores_are_read_from_csv_and_parquet(toy_config, taught, tmp_path, suffix):
  import pyarrow
  from pyarrow import csv, parquet

  own = difficulty(taught)
  shuffled = np.random.default_rng(0).permutation(200)
  table = pyarrow.table({'id': own.ids[shuffled].tolist(), 'score': own.score[shuffled]})
  path = tmp_path / f'scores.{suffix}'
  {'csv': csv.write_csv, 'parquet': parquet.write_table}[suffix](table, path)
  found = score(toy_config, tmp_path / 'run', teacher='file', difficulty_file=str(path))
  np.testing.assert_allclose(found.score, own.score)
  assert found.teacher == f'file: scores.{suffix}'
  table = table.slice(3).append_column('more', [['x'] * 197])
  {'csv': csv.write_csv, 'parquet': parquet.write_table}[suffix](table, path)
  with pytest.raises(UserError, match='200 examples: 3 missing'):
    score(toy_config, tmp_path / 'other')
