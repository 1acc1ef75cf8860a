import io
import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands import session
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.train import train
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation import load_predictions, metrics
from mecl_jax.training.log import read_metrics
from mecl_jax.training.workdir import read_summary
from tests.runs import run

QUIET = Console(quiet=True)


@pytest.mark.parametrize('strategy', ['joint', 'classifier_wise', 'layer_wise', 'mixed'])
def test_every_strategy_runs_to_its_report(ended, strategy):
  workdir = ended(strategy=strategy)
  summary = read_summary(workdir)
  assert [row['name'] for row in summary['exits']] == ['stage1', 'stage2', 'final']
  assert summary['steps'] == {'joint': 12, 'layer_wise': 12}.get(strategy, 24)
  assert summary['examples_seen'] == summary['steps'] * 20
  assert summary['complete'] and summary['strategy'] == strategy
  assert summary['curriculum'] == {
    'order': 'easy_first', 'pacing': 'fixed_exponential', 'visible_at_start': 0.2,
    'teacher': 'self_taught' if strategy in ('joint', 'layer_wise') else 'final_exit',
    'per_exit': 'shared', 'max_share': 1.0, 'sample_weights': 'none',
    'easy_strength': None, 'contradicted': 'keep', 'measure': 'confidence',
    'teacher_steps': 12 if strategy in ('joint', 'layer_wise') else 0,
  }  # fmt: skip
  macs = [row['macs'] for row in summary['exits']]
  assert macs == sorted(macs)
  for name in ('config.json', 'predictions.npz', 'report/exits.png', 'report/training.png'):
    assert (workdir / name).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.usefixtures('drawn')
def test_pictures_of_a_layer_wise_run_are_drawn(toy_config, tmp_path):
  run(toy_config, tmp_path, **{'strategy': 'layer_wise', 'curriculum.order': 'none'})
  for name in ('exits', 'training', 'network'):
    assert (tmp_path / f'report/{name}.png').stat().st_size > 5000


@pytest.mark.parametrize('order', ['easy_first', 'anti', 'random', 'none'])
def test_every_order_takes_the_same_steps(ended, order):
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


def test_orders_share_the_same_backbone(ended):
  final = []
  for order in ('easy_first', 'none'):
    workdir = ended(**{'curriculum.order': order})
    final.append(load_predictions(workdir / 'predictions.npz')['test_logits'])
  assert np.array_equal(final[0][:, -1], final[1][:, -1])
  assert not np.array_equal(final[0][:, 0], final[1][:, 0])


@pytest.mark.stacks
def test_heads_phase_keeps_the_backbone(toy_config, tmp_path):
  """With the feature cache, validation and checkpoints."""
  toy_config.logging.validate_every = '25%'
  run(toy_config, tmp_path)
  before, after = (
    ocp.StandardCheckpointer().restore(tmp_path / 'checkpoints' / step / 'model')
    for step in ('12', '24')
  )
  same = jax.tree.map(np.array_equal, before, after)
  assert all(jax.tree.leaves((same['backbone'], same['heads']['final'])))
  assert not any(jax.tree.leaves(same['heads']['stage1']))


@pytest.mark.stacks
def test_summary_agrees_with_the_predictions(ended):
  summary = read_summary(ended())
  saved = load_predictions(ended() / 'predictions.npz')
  assert saved['exits'].tolist() == ['stage1', 'stage2', 'final']
  assert saved['test_logits'].shape == (80, 3, 4) and saved['validation_logits'].shape[0] == 40
  for k, row in enumerate(summary['exits']):
    assert row['accuracy'] == metrics.accuracy(saved['test_logits'][:, k], saved['test_labels'])
  assert saved['test_ids'][0] == 'test_00000'


@pytest.mark.stacks
def test_it_learns(toy_config, tmp_path):
  for phase in (toy_config.phases.backbone, toy_config.phases.heads):
    phase.duration = '60 steps'
  toy_config.model.head = 'conv'
  summary = run(toy_config, tmp_path)
  assert summary == read_summary(tmp_path)
  assert summary['exits'][-1]['accuracy'] > 0.9
  assert summary['exits'][0]['accuracy'] > 0.7


def test_damaged_summary_is_written_again(own, toy_config):
  before = (own / 'summary.json').read_bytes()
  (own / 'summary.json').write_bytes(before[:-20])
  console = Console(file=io.StringIO(), width=200)
  summary = train(toy_config, own, console=console)
  assert 'summary.json is damaged and is written again' in console.file.getvalue()
  expected = json.loads(before)
  assert read_summary(own) == summary and summary['exits'] == expected['exits']


def test_ended_run_shows_its_report_again(toy_config, own, monkeypatch):
  monkeypatch.setattr(session, 'open_run', None)  # nothing is loaded, nothing trained
  assert run(toy_config, own) == read_summary(own)


@pytest.mark.stacks
def test_evaluation_repeats_the_report(own):
  first = read_summary(own)
  (own / 'predictions.npz').unlink()
  (own / 'summary.json').unlink()
  assert evaluate(own, console=QUIET) == first
  assert (own / 'predictions.npz').exists()


def test_loss_not_finite_keeps_the_checkpoint(toy_config, tmp_path):
  message = r'(loss is nan at|parameters are not finite after) step \d+ of phase heads \(.*e\+\d+\)'
  with pytest.raises(RunError, match=message):
    run(toy_config, tmp_path, **{'phases.heads.learning_rate': 1e30})
  assert [p.name for p in (tmp_path / 'checkpoints').iterdir()] == ['12']
  assert evaluate(tmp_path, console=QUIET)['steps'] == 12


def test_parameters_not_finite_are_not_saved(toy_config, tmp_path):
  """The loss of that step is finite, since it is measured before the update."""
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


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'batch_size': 201}, 'batch_size is 201; it must be at most 200'),
    ({'model.exits': ('stage9',)}, 'stage9'),
    ({'model.exits': (1.5,)}, '1.5'),
    ({'data.validation_size': 240}, '240'),
    ({'exit_weights': (1.0, 2.0)}, 'give 1, or 3'),
    ({'exit_weights': (0.0, 0.0, 1.0)}, 'all 0 in phase heads'),
    ({'phases.heads.duration': '0.001 epochs'}, 'less than one step of phase heads'),
    ({'augment.crop': 9}, 'augment.crop is 9; it must be at most 8'),
    ({'data.validation_size': 239}, 'leaves no training example of 3 classes'),
    ({'phases.heads.warmup': '12 steps'}, 'phases.heads.warmup'),
    ({'data.arrays': '/nowhere.npz'}, '/nowhere.npz'),
  ],
)  # fmt: skip
def test_invalid_run_is_rejected_before_training(toy_config, tmp_path, changes, message):
  with pytest.raises(UserError) as error:
    run(toy_config, tmp_path, **changes)
  assert message in str(error.value) and '\n' not in str(error.value)
  assert [p.name for p in tmp_path.iterdir() if p.name != '.lock'] == []


@pytest.mark.slow
@pytest.mark.usefixtures('rounded_as_outside')
def test_streaming_trains_the_same_network(toy_config, tmp_path):
  resident = run(toy_config, tmp_path / 'a', **{'strategy': 'joint', 'curriculum.order': 'random'})
  streamed = run(toy_config, tmp_path / 'b', **{'data.placement': 'host'})
  assert resident['exits'] == streamed['exits']


def test_heads_train_the_same_without_a_cache(toy_config, tmp_path):
  cached = run(toy_config, tmp_path / 'a', **{'augment.crop': 0, 'augment.flip': False})
  plain = run(toy_config, tmp_path / 'b', cache_features=False)
  for a, b in zip(cached['exits'], plain['exits'], strict=True):
    assert a['nll'] == pytest.approx(b['nll'], rel=1e-3)


def test_configuration_is_checked_before_data(tmp_path):
  c = config.default()
  c.curriculum.order = 'easy-first'
  with pytest.raises(UserError, match='easy_first, anti, random, none'):
    train(c, tmp_path / 'x', console=QUIET)
  assert not (tmp_path / 'x').exists()
