"""The command `energy`, on a run of a tiny network."""

import shutil

import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands.energy import energy
from mecl_jax.commands.evaluate import evaluate
from mecl_jax.commands.session import restored_run
from mecl_jax.deploy.energy_file import load_energy
from mecl_jax.errors import DamagedFile, UserError
from mecl_jax.evaluation.policies import Policy, save_policy
from mecl_jax.evaluation.rules import Rule
from mecl_jax.inference import Latency, save_latency
from mecl_jax.models import exit_costs
from tests.commands.report_of_run import table, with_energy, with_target

QUIET = Console(quiet=True)


@pytest.fixture(scope='module')
def names(run):
  with restored_run(run, None, QUIET) as (opened, _):
    return opened.model.exit_names


@pytest.fixture(scope='module')
def costs(names, tmp_path_factory):
  """A file of costs: 1, 2 and 3 mJ."""
  path = tmp_path_factory.mktemp('costs') / 'costs.csv'
  lines = [f'{name},{k + 1}' for k, name in enumerate(names)]
  path.write_text('\n'.join(['exit,cost_mJ', *lines]))
  return path


@pytest.fixture(scope='module')
def simulated(run, costs):
  """The simulation of the run, which its work directory and page hold too."""
  return energy(run, with_energy(run, costs=str(costs)), console=QUIET)


@pytest.fixture
def copied(run, simulated, tmp_path):
  return shutil.copytree(run, tmp_path / 'copy')


def settings_of(found):
  return {row['setting']: row['value'] for row in found.settings}


def test_simulation_is_in_the_file_and_on_the_page(copied, simulated):
  assert load_energy(copied / 'energy.json') == simulated
  assert [row['policy'] for row in simulated.rows] == ['greedy', 'threshold', 'reserve']
  rows = table(copied, 'energy')
  assert [float(row['used:mJ']) for row in rows] == [row['used:mJ'] for row in simulated.rows]
  assert len(table(copied, 'energy_trace')) == len(simulated.trace) == 3 * 336
  page = (copied / 'report/index.html').read_text()
  assert 'These figures are simulated on a computer: no energy was measured' in page
  assert 'costs.csv' in page and 'made up: light from 6 to 18 h' in page
  assert (copied / 'report/figures/energy.svg').exists()


def test_defaults_are_stated_in_answers_of_the_last_exit(simulated, names):
  settings = settings_of(simulated)
  assert settings['figures'].startswith('simulated')
  assert settings['costs'].startswith(
    f'{names[0]} 1, {names[1]} 2, {names[2]} 3 mJ for the segment'
  )
  assert settings['store'].startswith('144 mJ, 24 answers of the last exit; 50% full at the start')
  assert 'in the mean 3 mJ per interval' in settings['income']
  assert 'chosen on validation' in settings['reserve']


def test_evaluation_keeps_the_simulation_until_the_rule_changes(copied, tmp_path):
  evaluate(copied, with_target(copied), console=QUIET)
  assert table(copied, 'energy')
  save_policy(tmp_path / 'mine.json', Policy(Rule('margin'), np.array([0.25, 0.25])), 'toy')
  evaluate(copied, with_target(copied, policy_file=str(tmp_path / 'mine.json')), console=QUIET)
  assert not (copied / 'report/tables/energy.csv').exists()
  assert (
    'Energy was simulated with another checkpoint' in (copied / 'report/index.html').read_text()
  )


def test_damaged_simulation_is_one_line_and_is_replaced(copied, costs):
  (copied / 'energy.json').write_text('{"format": "mecl_jax en')
  with pytest.raises(DamagedFile, match=r'--mode=energy simulates again') as caught:
    evaluate(copied, with_target(copied), console=QUIET)
  assert '\n' not in str(caught.value)
  found = energy(copied, with_energy(copied, costs=str(costs), intervals=5), console=QUIET)
  assert load_energy(copied / 'energy.json') == found and len(found.trace) == 15


def test_measured_times_are_costs(copied, names):
  with restored_run(copied, None, QUIET) as (opened, _):
    shape = opened.dataset.image_shape
    macs = tuple(cost.macs for cost in exit_costs(opened.model, shape))
  row = {'batch': 4, 'p50_ms': 8.0}
  rows = [
    {'exit': n, 'batch': 4, 'calls': 9, 'p50_ms': 8.0, 'p99_ms': 9.0, 'images_per_second': 1.0}
    | {'compile_seconds': 1.0}
    for n in names
  ]
  segments = [{'exit': name} | row for name in names]
  measured = Latency('a board', '0.8', 'float32', shape, names, macs, rows, segments)
  save_latency(copied / 'latency.json', measured)
  budgets = copied / 'budgets.csv'
  budgets.write_text('budget_ms\n1\n2\n4.5\n')
  c = with_energy(copied, watts=0.5, wake=1.0, intervals=96, budgets=str(budgets))
  found = energy(copied, c, console=QUIET)
  settings = settings_of(found)
  assert f'{names[0]} 1, {names[1]} 1, {names[2]} 1 mJ' in settings['costs']
  assert 'measured milliseconds (a board) times an assumed 0.5 W' in settings['costs']
  assert '96 mJ, 24 answers' in settings['store'] and '1 mJ to wake' in settings['store']
  assert 'in the mean 1.25 mJ' in settings['budgets']
  of_budgets = [row for row in found.rows if row['supply'] == 'budgets']
  assert [row['policy'] for row in of_budgets] == ['greedy', 'threshold']
  assert of_budgets[0]['missed_share'] == pytest.approx(2 / 3)  # 2.25 mJ pay for waking and one
  assert 'nothing is kept for the next' in (copied / 'report/index.html').read_text()


def test_income_of_a_file_is_repeated(copied, costs):
  income = copied / 'income.csv'
  income.write_text('income_mJ\n6\n0\n')
  c = with_energy(copied, costs=str(costs), income=str(income), intervals=5)
  found = energy(copied, c, console=QUIET)
  greedy = [row for row in found.trace if row['policy'] == 'greedy']
  assert [row['income:mJ'] for row in greedy] == [6, 0, 6, 0, 6]
  assert 'income.csv, 2 lines for 5 intervals, in the mean 3.6 mJ' in settings_of(found)['income']


def test_bad_files_are_one_line(copied, costs, tmp_path):
  wrong = tmp_path / 'wrong.csv'
  wrong.write_text('income_J\n1\n')
  for fields, message in (
    ({}, f'--mode=latency --workdir={copied} measures them, or write energy.costs=FILE.csv'),
    ({'costs': str(wrong)}, "wrong.csv begins with 'income_J'; the heading must be exit,cost_mJ"),
    ({'costs': str(costs), 'income': str(wrong)}, 'wrong.csv is in J, but the costs are in mJ'),
    ({'costs': str(costs), 'budgets': str(wrong)}, "has the budget 'income_J'"),
    ({'costs': 'none.csv'}, 'none.csv cannot be read as a CSV file of costs'),
    ({'start': 1.5}, 'energy.start is 1.5; it must be from 0 to 1'),
  ):
    with pytest.raises(UserError) as caught:
      energy(copied, with_energy(copied, **fields), console=QUIET)
    assert message in str(caught.value) and '\n' not in str(caught.value)
