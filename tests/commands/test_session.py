"""A work directory accepts only the run that it was made for."""

import json
import logging
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.compare import compare
from mecl_jax.commands.describe import describe
from mecl_jax.commands.difficulty import score_difficulty
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.latency import latency
from mecl_jax.commands.train import train
from mecl_jax.curriculum import Difficulty
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.training.networks import load_network
from mecl_jax.training.workdir import claim, read_config, read_summary
from tests.runs import run

QUIET = Console(quiet=True)


def test_another_configuration_is_rejected(toy_config, own):
  before = {p: p.read_bytes() for p in own.rglob('*') if p.is_file()}
  with pytest.raises(UserError, match=r'model.width is 8, was 4; seed is 7, was 0'):
    run(toy_config, own, **{'seed': 7, 'model.width': 8})
  assert {p: p.read_bytes() for p in own.rglob('*') if p.is_file()} == before


def test_locked_work_directory_is_rejected(toy_config, tmp_path):
  with (
    claim(tmp_path),
    pytest.raises(UserError, match='another process uses the work directory'),
  ):
    run(toy_config, tmp_path)


def test_checkpoints_of_another_run_are_not_used(toy_config, ended, tmp_path, caplog):
  """The checkpoints have the same shapes and come from another seed."""
  toy_config.seed = 1
  first = run(toy_config, tmp_path / 'b')
  for name in ('checkpoints', 'summary.json'):
    path = tmp_path / 'b' / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  shutil.copytree(ended() / 'checkpoints', tmp_path / 'b/checkpoints')
  with pytest.raises(RunError, match='no checkpoint that can be read'):
    evaluate(tmp_path / 'b', console=QUIET)
  with caplog.at_level(logging.WARNING):
    assert run(toy_config, tmp_path / 'b')['exits'] == first['exits']
  assert 'it belongs to another run' in caplog.text
  assert 'training starts from the beginning' in caplog.text


@pytest.mark.parametrize('images', ['train_images', 'test_images'])
def test_other_data_in_a_work_directory_are_rejected(images, toy_config, toy_file, own, tmp_path):
  (own / 'summary.json').unlink()
  with np.load(toy_file) as arrays:
    np.savez(tmp_path / 'other.npz', **{**arrays, images: 255 - arrays[images]})
  with pytest.raises(UserError, match='was made with other data'):
    run(toy_config, own, **{'data.arrays': str(tmp_path / 'other.npz')})


def test_stored_digest_identifies_the_checkpoints(own, monkeypatch):
  """A later version, whose configuration has more fields, would compute another digest."""
  first = read_summary(own)
  (own / 'summary.json').unlink()
  monkeypatch.setattr(config, 'digest', lambda *_: 'another')
  assert evaluate(own, console=QUIET)['exits'] == first['exits']


def test_data_may_move(toy_config, toy_file, own, tmp_path):
  first = read_summary(own)
  moved = shutil.copy(toy_file, tmp_path / 'moved.npz')
  toy_config.data.arrays = str(moved)
  assert evaluate(own, toy_config, console=QUIET)['exits'] == first['exits']
  toy_config.seed = 5
  with pytest.raises(UserError, match='seed is 5, was 0'):
    evaluate(own, toy_config, console=QUIET)


def test_folder_without_a_run_is_rejected(tmp_path):
  with pytest.raises(UserError, match='is not the work directory of a run'):
    evaluate(tmp_path / 'no', console=QUIET)
  assert not (tmp_path / 'no').exists()


@pytest.fixture
def of_0_1(own):
  """A work directory as mecl_jax 0.1 left it: its identity.json names no format."""
  identity = json.loads((own / 'identity.json').read_text())
  del identity['checksum']
  for name in ('format', 'version'):
    del identity[name]
  (own / 'identity.json').write_text(json.dumps(identity))
  return own


# Every way to use a run: its work directory, a configuration, a new work directory.
USES = {
  'train': lambda run, c, new: train(c, run, console=QUIET),
  'evaluate': lambda run, c, new: evaluate(run, console=QUIET),
  'latency': lambda run, c, new: latency(run, console=QUIET),
  'difficulty': lambda run, c, new: score_difficulty(run, console=QUIET),
  'describe': lambda run, c, new: describe(run, console=QUIET),
  'compare': lambda run, c, new: compare([run, run.parent], new, console=QUIET),
  'load_network': lambda run, c, new: load_network(run),
  'pretrained': lambda run, c, new: train(changed(c, 'model.pretrained', run), new, console=QUIET),
  'teacher': lambda run, c, new: train(
    changed(c, 'curriculum.teacher_workdir', run, **{'curriculum.teacher': 'transfer'}),
    new,
    console=QUIET,
  ),
}


def changed(c, field, path, **more):
  c.update_from_flattened_dict({field: str(path), **more})
  return c


@pytest.mark.parametrize('use', USES)
def test_run_of_version_0_1_is_rejected(use, of_0_1, toy_config, tmp_path):
  before = {p: p.read_bytes() for p in of_0_1.rglob('*') if p.is_file()}
  with pytest.raises(UserError, match=r'own was made by mecl_jax 0\.1, and this version') as error:
    USES[use](of_0_1, toy_config, tmp_path / 'new')
  assert '\n' not in str(error.value)
  assert {p: p.read_bytes() for p in of_0_1.rglob('*') if p.is_file()} == before


@pytest.mark.parametrize('use', USES)
def test_run_without_identity_is_rejected(use, own, toy_config, tmp_path):
  (own / 'identity.json').unlink()
  with pytest.raises(UserError, match=r'identity\.json is missing'):
    USES[use](own, toy_config, tmp_path / 'new')


def test_scores_of_version_0_1_can_be_read(of_0_1, toy_config, tmp_path):
  assert load_predictions(of_0_1 / 'predictions.npz')['test_logits'].shape == (80, 3, 4)
  theirs = Difficulty.load(of_0_1 / 'difficulty.npz').score
  toy_config.curriculum.teacher = 'file'
  toy_config.curriculum.difficulty_file = str(of_0_1 / 'difficulty.npz')
  toy_config.report.compare_with = str(of_0_1)
  found = score_difficulty(tmp_path / 'new', toy_config, console=QUIET)
  assert np.array_equal(found.score, theirs)
  assert (tmp_path / 'new/report/agreement.csv').exists()


def test_copied_config_starts_a_run(own, tmp_path):
  (tmp_path / 'new').mkdir()
  shutil.copy(own / 'config.json', tmp_path / 'new')
  assert train(read_config(tmp_path / 'new'), tmp_path / 'new', console=QUIET)['complete']
