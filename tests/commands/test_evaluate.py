"""A run looked at again: wishes, policies, latencies, and the page that tells of them."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax import config
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.latency import latency
from mecl_jax.commands.train import train
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.evaluation.policies import Policy, load_policy, save_policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.inference import EarlyExit, load_latency
from mecl_jax.training.networks import load_network
from tests.toys import make_config

QUIET = Console(quiet=True)
TABLES = {
  *('exits', 'calibration', 'reliability', 'overthinking', 'first_correct', 'agreement'),
  *('ensembles', 'curve', 'areas', 'operating_points', 'training', 'examples'),
}
OF_TIME = {'latency', 'segments', 'savings', 'deadlines', 'deadline_distributions'}


@pytest.fixture(scope='module')
def run(toy_file, tmp_path_factory):
  """A trained run without a page; its tests change nothing but its report."""
  workdir = tmp_path_factory.mktemp('run')
  train(make_config(toy_file), workdir, console=QUIET)
  return workdir


def wishing(run, **fields):
  """The run's configuration with fields of `evaluation`."""
  c = config.read(run / 'config.json')
  c.report.page = True
  c.evaluation.update(fields)
  return c


def table(run, name):
  with (run / f'report/tables/{name}.csv').open() as file:
    return list(csv.DictReader(file))


def test_the_page_tells_of_a_run_and_of_the_policy_that_it_chose(run):
  console = Console(record=True, width=200, file=io.StringIO())
  evaluate(run, wishing(run), console=console)
  assert {path.stem for path in (run / 'report/tables').glob('*.csv')} == TABLES
  page = (run / 'report/index.html').read_text()
  assert 'toy, resnet8: classifier_wise' in page and 'mode=latency' in page
  (chosen,) = (row for row in table(run, 'operating_points') if row['chosen'] == 'True')
  assert chosen['wish'] == 'max_accuracy_drop' and chosen['wish_value'] == '0.005'
  policy = load_policy(run / 'policy.json', 'toy')
  assert policy.rule.name == chosen['rule']
  assert [str(t) for t in policy.thresholds.tolist()] == [
    chosen['threshold:stage1'], chosen['threshold:stage2'],
  ]  # fmt: skip
  assert f'early exit by {chosen["rule"]}' in console.export_text()
  accuracy = json.loads((run / 'summary.json').read_text())['exits'][0]['accuracy']
  assert float(table(run, 'exits')[0]['accuracy']) == accuracy


def test_a_given_policy_is_taken_as_it_is(run, tmp_path):
  mine = Policy(Rule('margin'), np.array([0.25, np.inf]))
  save_policy(tmp_path / 'mine.json', mine, 'toy')
  evaluate(run, wishing(run, policy_file=str(tmp_path / 'mine.json')), console=QUIET)
  (row,) = table(run, 'operating_points')
  assert (row['thresholds'], row['threshold:stage1'], row['wish']) == ('given', '0.25', '')
  assert 'mine.json' in (run / 'report/index.html').read_text()


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'target_macs': 1.0}, r'no operating point meets target_macs=1.0; the nearest takes'),
    ({'target_latency_ms': 1.0}, 'mode=latency measures'),
  ],
)
def test_what_cannot_be_had_is_told_when_the_rest_is_safe(run, fields, message):
  evaluate(run, wishing(run), console=QUIET)
  (run / 'summary.json').unlink()
  with pytest.raises(UserError, match=message):
    evaluate(run, wishing(run, **fields), console=QUIET)
  assert (run / 'summary.json').exists()
  # What was chosen before is not taken for what was wished for now.
  assert not (run / 'policy.json').exists() and not (run / 'report/index.html').exists()


@pytest.mark.parametrize('field', ['policy_file', 'latency_file', 'deadlines_file'])
def test_a_file_that_is_not_there_is_told_before_training(run, toy_file, tmp_path, field):
  with pytest.raises(UserError, match=r'nothing\.json cannot be read'):
    evaluate(run, wishing(run, **{field: 'nothing.json'}), console=QUIET)
  c = make_config(toy_file)
  c.evaluation[field] = 'nothing.json'
  with pytest.raises(UserError, match=r'nothing\.json cannot be read'):
    train(c, tmp_path, console=QUIET)
  assert not list(tmp_path.glob('checkpoints/*'))


def test_predictions_of_other_images_are_made_anew(run):
  evaluate(run, wishing(run), console=QUIET)
  path = run / 'predictions.npz'
  saved = load_predictions(path)
  swapped = saved | {'validation_ids': saved['test_ids'][:40]}
  np.savez(path, **swapped)
  latency(run, wishing(run, batch_sizes=(1,)), console=QUIET)
  assert (load_predictions(path)['validation_ids'] == saved['validation_ids']).all()
  (run / 'latency.json').unlink()


def test_savings_of_another_policy_are_left_out(run, tmp_path):
  latency(run, wishing(run, batch_sizes=(2,)), console=QUIET)
  assert table(run, 'savings')
  save_policy(tmp_path / 'mine.json', Policy(Rule('margin'), np.array([0.25, 0.25])), 'toy')
  evaluate(run, wishing(run, policy_file=str(tmp_path / 'mine.json')), console=QUIET)
  assert not (run / 'report/tables/savings.csv').exists()
  assert 'with other thresholds and is left out' in (run / 'report/index.html').read_text()
  # Times of a wider network with exits of the same names are no times of this one.
  other = json.loads((run / 'latency.json').read_text())
  other['macs'] = [2 * macs for macs in other['macs']]
  (run / 'latency.json').write_text(json.dumps(other))
  with pytest.raises(UserError, match='another network with exits of the same names'):
    evaluate(run, wishing(run), console=QUIET)
  (run / 'latency.json').unlink()


def test_a_network_with_one_exit_has_a_page_without_early_exit(toy_file, tmp_path):
  c = make_config(toy_file)
  c.strategy, c.model.exits, c.report.page, c.curriculum.order = 'joint', (), True, 'none'
  train(c, tmp_path, console=QUIET)
  assert 'This network has one exit' in (tmp_path / 'report/index.html').read_text()
  c.evaluation.batch_sizes = (2,)
  assert not latency(tmp_path, c, console=QUIET).savings
  assert not (tmp_path / 'policy.json').exists()


def test_a_policy_of_another_network_or_data_set_is_refused(run, tmp_path):
  file = tmp_path / 'policy.json'
  save_policy(file, Policy(Rule('margin'), np.array([0.5])), 'toy')
  with pytest.raises(UserError, match=r'policy\.json of 2 exits for predictions of 3'):
    evaluate(run, wishing(run, policy_file=str(file)), console=QUIET)
  save_policy(file, Policy(Rule('margin'), np.array([0.5, 0.5])), 'digits')
  with pytest.raises(UserError, match='thresholds for digits, not for toy'):
    evaluate(run, wishing(run, policy_file=str(file)), console=QUIET)


def test_latencies_are_measured_and_told(run, tmp_path):
  c = wishing(run, batch_sizes=(1, 8))
  measured = latency(run, c, console=QUIET)
  assert load_latency(run / 'latency.json', measured.exits) == measured
  assert [row['batch'] for row in measured.savings] == [1, 8]
  assert {path.stem for path in (run / 'report/tables').glob('*.csv')} == TABLES | OF_TIME
  page = (run / 'report/index.html').read_text()
  assert measured.device in page and 'another device' not in page
  # A wish in milliseconds can be had now; a file of another device is told of.
  other = json.loads((run / 'latency.json').read_text()) | {'device': 'a small board'}
  (tmp_path / 'board.json').write_text(json.dumps(other))
  slow = 2 * float(measured.segment_ms().sum())
  c = wishing(run, target_latency_ms=slow, latency_file=str(tmp_path / 'board.json'))
  evaluate(run, c, console=QUIET)
  page = (run / 'report/index.html').read_text()
  assert re.search('on another device than this page was made on: a small board', page)
  assert {row['wish'] for row in table(run, 'operating_points')} == {'target_latency_ms'}
  (run / 'latency.json').unlink()


def test_a_network_is_loaded_without_its_data_and_images_leave_as_its_policy_says(run, toy_file):
  saved, rule = load_predictions(run / 'predictions.npz'), Rule('max_probability')
  # Between two of the 80 confidences: no rounding turns an image round.
  policy = Policy(rule, np.median(rule.confidence(saved['test_logits']), axis=0)[:-1])
  answers = EarlyExit(load_network(run), policy)(np.load(toy_file)['test_images'])
  exits = policy.leaves_at(saved['test_logits'])
  assert set(exits.tolist()) == {0, 1, 2}
  np.testing.assert_array_equal(answers.exits, exits)
  predicted = saved['test_logits'][np.arange(len(exits)), exits].argmax(axis=1)
  np.testing.assert_array_equal(answers.classes, predicted)


def test_a_run_that_did_not_note_its_images_is_told_how_to(run, tmp_path):
  shutil.copytree(run, tmp_path / 'early')
  identity = json.loads((run / 'identity.json').read_text())
  del identity['image_shape']
  (tmp_path / 'early/identity.json').write_text(json.dumps(identity))
  with pytest.raises(UserError, match='--mode=evaluate'):
    load_network(tmp_path / 'early')
  evaluate(tmp_path / 'early', console=QUIET)
  assert load_network(tmp_path / 'early').exit_names == ('stage1', 'stage2', 'final')
  with pytest.raises(UserError, match='holds no run'):
    load_network(tmp_path / 'nothing')
