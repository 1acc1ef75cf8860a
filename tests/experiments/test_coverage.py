"""A short form of `python -m experiments.coverage`, whose whole table is docs/coverage.md."""

import pandas as pd
import pytest

from experiments import coverage

REPETITIONS = 60
# Of 60 intervals that each contain the true value in 95 %, 50 or fewer do so in 1 of 1,000 cases.
LEAST = 0.85


@pytest.mark.parametrize(
  'part', [pytest.param(coverage.of_ece, marks=pytest.mark.slow), coverage.of_metrics]
)
def test_intervals_contain_the_true_value(part):
  for row in part(REPETITIONS, (200,)):
    assert row['coverage'] >= LEAST, row


@pytest.mark.slow
def test_drop_of_a_chosen_policy_is_covered():
  for row in coverage.of_policies(REPETITIONS, (200,), choices=4):
    assert row['coverage'] >= LEAST, row


def test_true_values_are_those_asked_for():
  before = [row['true'] for row in coverage.of_ece(1, (200,)) if row['interval'] == 'ECE before']
  assert before == pytest.approx(2 * list(coverage.ERRORS), rel=0.02)


def test_counts_by_hand():
  count = coverage.Count('accuracy', 'toy', 10)
  for interval in ((0.5, 0.4, 0.6), (0.7, 0.6, 0.8), (0.3, 0.2, 0.4), (0.5, 0.5, 0.5)):
    count.add(interval, 0.5)
  row = count.row()
  assert (row['repetitions'], row['coverage'], row['above'], row['below']) == (4, 0.5, 0.25, 0.25)
  assert row['estimate'] == 0.5 and row['width'] == pytest.approx(0.15)


def test_command_writes_a_page_and_a_table(tmp_path, capsys):
  coverage.main(['--repetitions=20', f'--docs={tmp_path}', '--only', 'seeds'])
  table = pd.read_csv(tmp_path / 'coverage.csv')
  assert table['interval'].tolist() == ['over seeds'] * 2
  assert '3 paired seeds' in (tmp_path / 'coverage.md').read_text()
  assert capsys.readouterr().out.count('\n') == 2
