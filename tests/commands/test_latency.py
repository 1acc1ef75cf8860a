import functools
import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands import latency as latency_command
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.latency import latency
from mecl_jax.commands.outcome import predictions_of
from mecl_jax.commands.session import restored_run
from mecl_jax.errors import UserError
from mecl_jax.evaluation import load_predictions
from mecl_jax.evaluation.policies import Policy, save_policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.files import read_json, write_checked_json, write_json
from mecl_jax.inference import load_latency
from tests.commands.report_of_run import TABLES, table, with_target

QUIET = Console(quiet=True)
OF_TIME = {'latency', 'segments', 'savings', 'deadlines', 'deadline_distributions'}


@pytest.fixture(scope='module')
def measured(run):
  """The latencies of the run, which its work directory and page hold too."""
  with pytest.MonkeyPatch.context() as patch:
    quick = functools.partial(latency_command.measure, seconds=0.05)
    patch.setattr(latency_command, 'measure', quick)
    found = latency(run, with_target(run, batch_sizes=(1, 8)), console=QUIET)
  return found


@pytest.fixture
def timed(run, measured, tmp_path):
  """A copy of the run with its latencies."""
  return shutil.copytree(run, tmp_path / 'timed')


def test_predictions_of_other_images_are_replaced(own):
  path = own / 'predictions.npz'
  saved = load_predictions(path)
  np.savez(path, **saved | {'validation_ids': saved['test_ids'][:40]})
  with restored_run(own, None, QUIET) as (opened, position):
    assert predictions_of(opened, position)['validation_ids'].tolist() == (
      saved['validation_ids'].tolist()
    )
  assert (load_predictions(path)['validation_ids'] == saved['validation_ids']).all()


def test_predictions_without_a_summary_are_replaced(own):
  for name in ('summary.json', 'predictions.npz'):
    (own / name).unlink()
  with restored_run(own, None, QUIET) as (opened, position):
    assert predictions_of(opened, position)['test_logits'].shape == (80, 3, 4)
  assert (own / 'predictions.npz').exists()


def test_savings_of_another_policy_are_left_out(timed, tmp_path):
  run = timed
  assert table(run, 'savings')
  save_policy(tmp_path / 'mine.json', Policy(Rule('margin'), np.array([0.25, 0.25])), 'toy')
  evaluate(run, with_target(run, policy_file=str(tmp_path / 'mine.json')), console=QUIET)
  assert not (run / 'report/tables/savings.csv').exists()
  assert 'with other thresholds and is left out' in (run / 'report/index.html').read_text()
  # Latencies of a wider network with exits of the same names do not fit.
  other = read_json(run / 'latency.json')
  other['macs'] = [2 * macs for macs in other['macs']]
  write_checked_json(run / 'latency.json', other)
  with pytest.raises(UserError, match='another network with exits of the same names'):
    evaluate(run, with_target(run), console=QUIET)


def test_latencies_of_an_earlier_version_have_no_early_exit(timed):
  run = timed
  old = read_json(run / 'latency.json') | {'version': 1, 'answers': []}
  write_json(run / 'latency.json', old)
  with pytest.raises(UserError, match='measured times of early exit; --mode=latency') as caught:
    evaluate(run, with_target(run, target_latency_ms=1e3), console=QUIET)
  assert '\n' not in str(caught.value)
  evaluate(run, with_target(run), console=QUIET)
  assert 'measured by an earlier version' in (run / 'report/index.html').read_text()
  assert 'test_ms' not in table(run, 'operating_points')[0]


def test_latencies_are_measured_and_reported(timed, measured, tmp_path):
  run = timed
  assert load_latency(run / 'latency.json', measured.exits) == measured
  assert [row['batch'] for row in measured.savings] == [1, 8]
  assert {path.stem for path in (run / 'report/tables').glob('*.csv')} == TABLES | OF_TIME
  page = (run / 'report/index.html').read_text()
  assert measured.device in page and 'another device' not in page
  # A target in milliseconds can be met now; a file of another device is noted on the page.
  other = read_json(run / 'latency.json') | {'device': 'a small board'}
  write_checked_json(tmp_path / 'board.json', other)
  slow = 2 * float(measured.segment_ms().sum())
  c = with_target(run, target_latency_ms=slow, latency_file=str(tmp_path / 'board.json'))
  evaluate(run, c, console=QUIET)
  page = (run / 'report/index.html').read_text()
  assert 'on another device than this page was made on: a small board' in page
  assert {row['target'] for row in table(run, 'operating_points')} == {'target_latency_ms'}


def test_missing_predictions_are_made_again(timed):
  (timed / 'predictions.npz').unlink()
  with restored_run(timed, None, QUIET) as (run, position):
    assert predictions_of(run, position)['test_logits'].shape == (80, 3, 4)
  assert (timed / 'predictions.npz').exists()
