import json
import logging
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands import train as train_lib
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.train import train
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation import load_predictions, metrics
from mecl_jax.training.log import read_metrics
from mecl_jax.training.workdir import read_summary

QUIET = Console(quiet=True)


def run(c, workdir, **changes):
  c.update_from_flattened_dict(changes)
  return train(c, workdir, console=QUIET)


@pytest.mark.parametrize('strategy', ['joint', 'classifier_wise', 'layer_wise', 'mixed'])
def test_every_strategy_runs_to_its_report(toy_config, tmp_path, drawn, strategy):
  summary = run(toy_config, tmp_path, strategy=strategy)
  assert summary == json.loads((tmp_path / 'summary.json').read_text())
  assert [row['name'] for row in summary['exits']] == ['stage1', 'stage2', 'final']
  assert summary['steps'] == {'joint': 12, 'layer_wise': 12}.get(strategy, 24)
  assert summary['examples_seen'] == summary['steps'] * 20
  assert summary['complete'] and summary['strategy'] == strategy
  assert summary['curriculum'] == {
    'order': 'easy_first', 'pacing': 'fixed_exponential', 'visible_at_start': 0.2,
    'teacher': 'self_taught' if strategy in ('joint', 'layer_wise') else 'final_exit',
    'per_exit': 'shared', 'max_share': 1.0, 'sample_weights': 'none',
    'easy_strength': None, 'measure': 'confidence',
    'teacher_steps': 12 if strategy in ('joint', 'layer_wise') else 0,
  }  # fmt: skip
  macs = [row['macs'] for row in summary['exits']]
  assert macs == sorted(macs)
  for name in ('config.json', 'predictions.npz', 'report/exits.png', 'report/training.png'):
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize('order', ['easy_first', 'anti', 'random', 'none'])
def test_every_order_takes_the_same_steps_on_the_same_backbone(ended, order):
  workdir = ended(**{'curriculum.order': order})
  summary = read_summary(workdir)
  assert summary['steps'] == 24
  records = read_metrics(workdir / 'metrics.jsonl')
  visible = [r['visible'] for r in records if r['phase'] == 'heads' and 'loss' in r]
  assert visible[-1] == 1.0 and (visible[0] == 1.0) == (order == 'none')
  assert (workdir / 'difficulty.npz').exists() == (order in ('easy_first', 'anti'))
  facts = summary['curriculum']
  assert (facts['pacing'] is None) == (order == 'none')
  assert (facts['teacher'] is None) == (order in ('random', 'none'))


def test_orders_are_compared_on_the_same_backbone(ended):
  final = []
  for order in ('easy_first', 'none'):
    workdir = ended(**{'curriculum.order': order})
    final.append(load_predictions(workdir / 'predictions.npz')['test_logits'])
  assert np.array_equal(final[0][:, -1], final[1][:, -1])
  assert not np.array_equal(final[0][:, 0], final[1][:, 0])


def test_the_heads_leave_the_backbone_as_it_is(toy_config, tmp_path):
  """Through the whole loop: feature cache, validation, checkpoints."""
  toy_config.logging.validate_every = '25%'
  run(toy_config, tmp_path)
  before, after = (
    ocp.StandardCheckpointer().restore(tmp_path / 'checkpoints' / step / 'model')
    for step in ('12', '24')
  )
  same = jax.tree.map(np.array_equal, before, after)
  assert all(jax.tree.leaves((same['backbone'], same['heads']['final'])))
  assert not any(jax.tree.leaves(same['heads']['stage1']))


def test_the_summary_is_what_the_predictions_say(ended):
  summary = read_summary(ended())
  saved = load_predictions(ended() / 'predictions.npz')
  assert saved['exits'].tolist() == ['stage1', 'stage2', 'final']
  assert saved['test_logits'].shape == (80, 3, 4) and saved['validation_logits'].shape[0] == 40
  for k, row in enumerate(summary['exits']):
    assert row['accuracy'] == metrics.accuracy(saved['test_logits'][:, k], saved['test_labels'])
  assert saved['test_ids'][0] == 'test_00000'


def test_it_learns(toy_config, tmp_path):
  for phase in (toy_config.phases.backbone, toy_config.phases.heads):
    phase.duration = '60 steps'
  toy_config.model.head = 'conv'
  summary = run(toy_config, tmp_path)
  assert summary['exits'][-1]['accuracy'] > 0.9
  assert summary['exits'][0]['accuracy'] > 0.7


def test_a_run_that_has_ended_shows_its_report_again(toy_config, own, monkeypatch):
  monkeypatch.setattr(train_lib, 'open_run', None)  # nothing is loaded, nothing trained
  assert run(toy_config, own) == read_summary(own)


def test_evaluation_repeats_the_report(own):
  first = read_summary(own)
  (own / 'predictions.npz').unlink()
  (own / 'summary.json').unlink()
  assert evaluate(own, console=QUIET) == first
  assert (own / 'predictions.npz').exists()


def test_another_configuration_is_refused_and_touches_nothing(toy_config, own):
  before = {p: p.read_bytes() for p in own.rglob('*') if p.is_file()}
  with pytest.raises(UserError, match=r'model.width is 8, was 4; seed is 7, was 0'):
    run(toy_config, own, **{'seed': 7, 'model.width': 8})
  assert {p: p.read_bytes() for p in own.rglob('*') if p.is_file()} == before


def test_a_held_work_directory_is_refused(toy_config, tmp_path):
  with (
    train_lib.workdirs.claim(tmp_path),
    pytest.raises(UserError, match='another process is at work'),
  ):
    run(toy_config, tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_checkpoint(toy_config, tmp_path):
  message = r'(loss is nan at|parameters are not finite after) step \d+ of phase heads \(.*e\+\d+\)'
  with pytest.raises(RunError, match=message):
    run(toy_config, tmp_path, **{'phases.heads.learning_rate': 1e30})
  assert [p.name for p in (tmp_path / 'checkpoints').iterdir()] == ['12']
  assert evaluate(tmp_path, console=QUIET)['steps'] == 12


def test_an_update_that_breaks_the_parameters_is_not_saved(toy_config, tmp_path):
  """The loss of that step still looks well: it is measured before the update."""
  toy_config.checkpoints.every_seconds = 0.0
  settings = {
    'optimizer': 'sgd',
    'duration': '1 steps',
    'learning_rate': 1e30,
    'weight_decay': 1e30,
  }
  toy_config.phases.heads.update(settings)
  with pytest.raises(RunError, match='parameters are not finite after step 1 of phase heads'):
    run(toy_config, tmp_path)
  steps = sorted(int(p.name) for p in (tmp_path / 'checkpoints').iterdir())
  assert steps[-1] == 12 and not (tmp_path / 'summary.json').exists()


def test_checkpoints_of_another_run_are_not_taken(toy_config, ended, tmp_path, caplog):
  """Same shapes, another seed."""
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
  assert 'it is of another run' in caplog.text
  assert 'training starts from the beginning' in caplog.text


@pytest.mark.parametrize('images', ['train_images', 'test_images'])
def test_other_data_in_the_same_work_directory_are_refused(
  images, toy_config, toy_file, own, tmp_path
):
  (own / 'summary.json').unlink()
  with np.load(toy_file) as arrays:
    np.savez(tmp_path / 'other.npz', **{**arrays, images: 255 - arrays[images]})
  with pytest.raises(UserError, match='was made with other data'):
    run(toy_config, own, **{'data.arrays': str(tmp_path / 'other.npz')})


def test_a_later_version_knows_the_checkpoints_of_a_run(own, monkeypatch):
  """Its configuration has more fields, so that the digest would come out differently."""
  first = read_summary(own)
  (own / 'summary.json').unlink()
  monkeypatch.setattr(train_lib.config_lib, 'digest', lambda *_: 'another')
  assert evaluate(own, console=QUIET)['exits'] == first['exits']


def test_data_may_move(toy_config, toy_file, own, tmp_path):
  first = read_summary(own)
  moved = shutil.copy(toy_file, tmp_path / 'moved.npz')
  toy_config.data.arrays = str(moved)
  assert evaluate(own, toy_config, console=QUIET)['exits'] == first['exits']
  toy_config.seed = 5
  with pytest.raises(UserError, match='seed is 5, was 0'):
    evaluate(own, toy_config, console=QUIET)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'batch_size': 201}, 'batch_size is 201; the training split has 200'),
    ({'model.exits': ('stage9',)}, 'stage9'),
    ({'model.exits': (1.5,)}, '1.5'),
    ({'data.validation_size': 240}, '240'),
    ({'exit_weights': (1.0, 2.0)}, 'give 1, or 3'),
    ({'exit_weights': (0.0, 0.0, 1.0)}, 'all 0 in phase heads'),
    ({'phases.heads.duration': '0.001 epochs'}, 'phase heads has no step'),
    ({'augment.crop': 9}, 'augment.crop is 9; the images are 8 pixels'),
    ({'data.validation_size': 239}, 'leaves no training example of 3 classes'),
    ({'phases.heads.warmup': '12 steps'}, 'phases.heads.warmup'),
    ({'data.arrays': '/nowhere.npz'}, '/nowhere.npz'),
  ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_anything_is_made(toy_config, tmp_path, changes, message):
  with pytest.raises(UserError) as error:
    run(toy_config, tmp_path, **changes)
  assert message in str(error.value) and '\n' not in str(error.value)
  assert [p.name for p in tmp_path.iterdir() if p.name != '.lock'] == []


def test_evaluating_a_folder_without_a_run_is_an_error(tmp_path):
  with pytest.raises(UserError, match='holds no run'):
    evaluate(tmp_path / 'no', console=QUIET)
  assert not (tmp_path / 'no').exists()


@pytest.mark.usefixtures('rounded_as_outside')
def test_streaming_trains_the_same_network(toy_config, tmp_path):
  resident = run(toy_config, tmp_path / 'a', strategy='joint')
  streamed = run(toy_config, tmp_path / 'b', **{'data.placement': 'host'})
  assert resident['exits'] == streamed['exits']


def test_a_frozen_backbone_without_a_cache_trains_nearly_the_same_heads(toy_config, tmp_path):
  cached = run(toy_config, tmp_path / 'a', **{'augment.crop': 0, 'augment.flip': False})
  plain = run(toy_config, tmp_path / 'b', cache_features=False)
  for a, b in zip(cached['exits'], plain['exits'], strict=True):
    assert a['nll'] == pytest.approx(b['nll'], rel=1e-3)


def test_a_default_configuration_is_checked_before_data_is_asked_for(tmp_path):
  c = config.default()
  c.curriculum.order = 'easy-first'
  with pytest.raises(UserError, match='easy_first, anti, random, none'):
    train(c, tmp_path / 'x', console=QUIET)
  assert not (tmp_path / 'x').exists()
