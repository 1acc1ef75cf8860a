"""A finished run is evaluated again: targets, policies, and the page that shows them."""

import functools
import io
import json
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands import latency as latency_command
from mecl_jax.commands import outcome, run_report, session
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.latency import latency
from mecl_jax.commands.train import train
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.evaluation.policies import Policy, fixed, load_policy, save_policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.files import write_npz
from mecl_jax.training.workdir import read_summary
from tests.commands.report_of_run import TABLES, table, with_target
from tests.toys import make_config

QUIET = Console(quiet=True)


@pytest.fixture(scope='module')
def evaluated(ended, tmp_path_factory):
  """A run that was evaluated with a page, which must be left as it is, and what was printed."""
  run = shutil.copytree(ended(), tmp_path_factory.mktemp('evaluated') / 'run')
  console = Console(record=True, width=200, file=io.StringIO())
  evaluate(run, with_target(run), console=console)
  return run, console.export_text()


@pytest.fixture
def run(evaluated, tmp_path):
  """A copy of that run, which a test may change."""
  return shutil.copytree(evaluated[0], tmp_path / 'run')


def test_page_shows_the_run_and_its_chosen_policy(evaluated):
  run, printed = evaluated
  assert {path.stem for path in (run / 'report/tables').glob('*.csv')} == TABLES
  page = (run / 'report/index.html').read_text()
  assert 'toy, toy: classifier_wise' in page and 'mode=latency' in page
  (chosen,) = (row for row in table(run, 'operating_points') if row['chosen'] == 'True')
  assert chosen['target'] == 'max_accuracy_drop' and chosen['target_value'] == '0.005'
  policy = load_policy(run / 'policy.json', 'toy')
  assert policy.rule.name == chosen['rule']
  assert [str(t) for t in policy.thresholds.tolist()] == [
    chosen['threshold:stage1'], chosen['threshold:stage2'],
  ]  # fmt: skip
  sentence = next(line for line in printed.splitlines() if line.startswith('Use '))
  assert chosen['rule'].replace('_', ' ') in sentence or chosen['thresholds'] in sentence
  shown = page.replace('\xa0', ' ')
  assert shown.index(sentence) < shown.index('<dl>')  # above everything else
  accuracy = json.loads((run / 'summary.json').read_text())['exits'][0]['accuracy']
  assert float(table(run, 'exits')[0]['accuracy']) == accuracy


def test_given_policy_is_used(run, tmp_path):
  mine = Policy(Rule('margin'), np.array([0.25, np.inf]))
  save_policy(tmp_path / 'mine.json', mine, 'toy')
  evaluate(run, with_target(run, policy_file=str(tmp_path / 'mine.json')), console=QUIET)
  (row,) = table(run, 'operating_points')
  assert (row['thresholds'], row['threshold:stage1'], row['target']) == ('given', '0.25', '')
  assert 'mine.json' in (run / 'report/index.html').read_text()


UNREACHABLE = [
  ({'target_macs': 1.0}, r'no operating point meets target_macs=1(\.0)?; the nearest takes'),
  ({'target_latency_ms': 1.0}, r'mode=latency --workdir=\S+ measures'),
]


def content(folder):
  return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize(('fields', 'message'), UNREACHABLE)
def test_unreachable_target_keeps_the_report(run, fields, message, monkeypatch):
  before = content(run)
  assert {run / 'policy.json', run / 'report/index.html', run / 'summary.json'} < before.keys()
  monkeypatch.setattr(session, 'open_run', None)  # it is found before data are loaded
  with pytest.raises(UserError, match=message) as error:
    evaluate(run, with_target(run, **fields), console=QUIET)
  assert '\n' not in str(error.value)
  assert content(run) == before


@pytest.mark.parametrize(('fields', 'message'), UNREACHABLE)
def test_unreachable_target_is_rejected_before_training(toy_config, tmp_path, fields, message):
  toy_config.report.page = True
  toy_config.evaluation.update(fields)
  with pytest.raises(UserError, match=message):
    train(toy_config, tmp_path, console=QUIET)
  assert not list(tmp_path.glob('checkpoints/*'))


def test_target_that_no_policy_meets_keeps_the_report(run, monkeypatch):
  """The predictions show it, before anything is written."""
  before = content(run)

  def fail(*_):
    raise UserError('no operating point meets it')

  monkeypatch.setattr(run_report, 'choose_policy', fail)
  with pytest.raises(UserError, match='no operating point meets it'):
    evaluate(run, with_target(run), console=QUIET)
  assert content(run) == before


def test_page_of_somebody_else_is_rejected_before_training(toy_config, tmp_path):
  (tmp_path / 'report').mkdir()
  (tmp_path / 'report/index.html').write_text('mine')
  toy_config.report.page = True
  with pytest.raises(UserError, match='mecl_jax did not write'):
    train(toy_config, tmp_path, console=QUIET)
  assert (tmp_path / 'report/index.html').read_text() == 'mine'
  assert not list(tmp_path.glob('checkpoints/*'))


def test_another_target_predicts_nothing(run, monkeypatch):
  first = (run / 'predictions.npz').read_bytes()
  monkeypatch.setattr(outcome, 'predict_split', None)
  console = Console(record=True, width=200, file=io.StringIO())
  evaluate(run, with_target(run, max_accuracy_drop=0.3), console=console)
  assert 'predictions.npz is of this checkpoint and is used; delete it' in console.export_text()
  (chosen,) = (row for row in table(run, 'operating_points') if row['chosen'] == 'True')
  assert chosen['target_value'] == '0.3'
  assert (run / 'predictions.npz').read_bytes() == first


@pytest.mark.parametrize('change', ['missing', 'damaged', 'other_checkpoint', 'no_checkpoint'])
def test_predictions_that_do_not_fit_are_made_again(run, change):
  """Also those of 0.3, which name no checkpoint."""
  first = read_summary(run)
  path = run / 'predictions.npz'
  own = load_predictions(path)
  wrong = {**own, 'test_logits': -own['test_logits']}
  if change == 'missing':
    path.unlink()
  elif change == 'damaged':
    path.write_bytes(path.read_bytes()[:-100])
  elif change == 'other_checkpoint':
    write_npz(path, {**wrong, 'checkpoint': np.array(str(own['checkpoint']).replace('24', '12'))})
  else:
    del wrong['checkpoint']
    write_npz(path, wrong)
  assert evaluate(run, console=QUIET) == first
  again = load_predictions(path)
  assert all(np.array_equal(again[key], own[key]) for key in own)


def test_target_is_kept_until_another_is_given(run):
  evaluate(run, with_target(run, target_macs=1e9), console=QUIET)
  console = Console(record=True, width=300, file=io.StringIO())
  evaluate(run, with_target(run), keep_target=True, console=console)
  assert 'evaluation.target_macs=1000000000.0, as in the last evaluation' in console.export_text()
  assert table(run, 'operating_points')[0]['target'] == 'target_macs'
  evaluate(run, with_target(run), console=QUIET)
  assert table(run, 'operating_points')[0]['target'] == 'max_accuracy_drop'


def test_results_of_a_damaged_checkpoint_are_kept(run):
  before = [content(run / 'report'), (run / 'summary.json').read_bytes()]
  newest = max((run / 'checkpoints').glob('[0-9]*'), key=lambda path: int(path.name))
  record = newest / 'position/metadata'
  whole = record.read_bytes()
  record.write_bytes(whole[:-5])
  with pytest.raises(RunError, match=r'checkpoint is damaged; they stay|no checkpoint that can be'):
    evaluate(run, with_target(run), console=QUIET)
  record.write_bytes(whole)
  assert [content(run / 'report'), (run / 'summary.json').read_bytes()] == before


def test_target_above_the_network_is_named_as_such(run):
  assert 'limits nothing' not in (run / 'report/index.html').read_text()
  evaluate(run, with_target(run, target_macs=1e9), console=QUIET)
  page = (run / 'report/index.html').read_text()
  assert 'target_macs=1000000000 is above the cost of the whole network with all its heads' in page


def test_fixed_exit_is_saved_and_used_again(run, tmp_path):
  save_policy(tmp_path / 'stage2.json', fixed(1, 3), 'toy')
  evaluate(run, with_target(run, policy_file=str(tmp_path / 'stage2.json')), console=QUIET)
  (row,) = table(run, 'operating_points')
  assert (row['rule'], row['thresholds'], row['leave:stage2']) == ('fixed', 'stage2', '1.0')
  assert load_policy(run / 'policy.json', 'toy').fixed_exit == 1


@pytest.mark.parametrize('field', ['policy_file', 'latency_file', 'deadlines_file'])
def test_missing_file_is_rejected_before_training(run, toy_file, tmp_path, field):
  with pytest.raises(UserError, match=r'nothing\.json (does not exist|cannot be read)'):
    evaluate(run, with_target(run, **{field: 'nothing.json'}), console=QUIET)
  c = make_config(toy_file)
  c.evaluation[field] = 'nothing.json'
  with pytest.raises(UserError, match=r'nothing\.json (does not exist|cannot be read)'):
    train(c, tmp_path / 'new', console=QUIET)
  assert not list(tmp_path.glob('new/checkpoints/*'))


def test_one_exit_has_a_page_without_early_exit(toy_file, tmp_path, monkeypatch):
  c = make_config(toy_file)
  c.strategy, c.model.exits, c.report.page, c.curriculum.order = 'joint', (), True, 'none'
  train(c, tmp_path, console=QUIET)
  assert (
    'This network has one exit, so that no image leaves early.'
    in (tmp_path / 'report/index.html').read_text()
  )
  c.evaluation.batch_sizes = (2,)
  quick = functools.partial(latency_command.measure, seconds=0.05)
  monkeypatch.setattr(latency_command, 'measure', quick)
  assert not latency(tmp_path, c, console=QUIET).savings
  assert not (tmp_path / 'policy.json').exists()


def test_policy_of_another_network_is_rejected(run, tmp_path):
  file = tmp_path / 'policy.json'
  save_policy(file, Policy(Rule('margin'), np.array([0.5])), 'toy')
  with pytest.raises(UserError, match=r'policy\.json of 2 exits for predictions of 3'):
    evaluate(run, with_target(run, policy_file=str(file)), console=QUIET)
  save_policy(file, Policy(Rule('margin'), np.array([0.5, 0.5])), 'digits')
  with pytest.raises(UserError, match='thresholds for digits, not for toy'):
    evaluate(run, with_target(run, policy_file=str(file)), console=QUIET)
