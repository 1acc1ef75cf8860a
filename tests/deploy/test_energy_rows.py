"""The rows of a simulation of energy."""

import numpy as np
import pytest

from mecl_jax.deploy.energy import BUDGETS, STORE
from mecl_jax.deploy.energy_rows import simulate
from mecl_jax.evaluation.policies import fixed
from tests.deploy.energy_cases import NIGHT, device, split


def test_reserve_answers_at_night():
  found = simulate(split('validation'), split('test'), fixed(2, 3), device(), 'mJ')
  greedy, threshold, reserve = found.rows
  assert [row['policy'] for row in found.rows] == ['greedy', 'threshold', 'reserve']
  assert reserve['reserve'] == found.reserve.reserve > 0.5 and greedy['reserve'] is None
  assert greedy['missed_share'] == threshold['missed_share'] > 0.3
  assert reserve['missed_share'] < 0.05
  assert reserve['right_drop_high'] < -0.2 and greedy['right_drop'] is None
  for row in found.rows:
    for name in ('right_share', 'answered_accuracy', 'missed_share', 'used:mJ'):
      assert row[f'{name}_low'] <= row[name] <= row[f'{name}_high']
    spent = len(NIGHT) * (row['used:mJ'] + row['lost:mJ'])
    assert spent <= 20 + NIGHT.sum() + 1e-9


def test_budgets_are_not_kept():
  budgets = np.tile([0.5, 1.0, 2.5, 10.0], 25)
  with_budgets = device(budgets=budgets, level=0.0, income=np.zeros(4))
  rows = simulate(split('validation'), split('test'), fixed(1, 3), with_budgets, 'ms').rows
  greedy, threshold = (row for row in rows if row['supply'] == BUDGETS)
  assert greedy['missed_share'] == threshold['missed_share'] == 0.25
  assert greedy['mean_exit'] == 2 and threshold['mean_exit'] == pytest.approx(5 / 3)
  assert greedy['used:ms'] == pytest.approx((1 + 2 + 10) / 4) and greedy['lost:ms'] is None
  assert {row['policy'] for row in rows if row['supply'] == STORE} == {
    *('greedy', 'threshold', 'reserve')
  }


def test_trace_has_few_points_whose_means_are_those_of_the_rows():
  income = np.random.default_rng(0).exponential(1, 1000)
  found = simulate(split('validation'), split('test'), fixed(1, 3), device(income=income), 'mJ')
  greedy = [row for row in found.trace if row['policy'] == 'greedy']
  assert len(greedy) == 334 and len(found.trace) == 3 * len(greedy)
  starts = [row['interval'] for row in greedy]
  sizes = np.diff([*starts, 1000])
  for name, expected in (
    ('income:mJ', income.mean()),
    ('right_share', found.rows[0]['right_share']),
  ):
    assert np.average([row[name] for row in greedy], weights=sizes) == pytest.approx(expected)
  missed = [row['missed_so_far'] for row in greedy]
  assert sorted(missed) == missed
  assert missed[-1] == pytest.approx(1000 * found.rows[0]['missed_share'])


def test_simulation_can_be_stopped():
  def stop():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    simulate(split('validation'), split('test'), fixed(1, 3), device(), 'mJ', stop)


def test_columns_without_answers_are_empty():
  poor = device(level=0.0, income=np.zeros(5))
  rows = simulate(split('validation'), split('test'), fixed(0, 3), poor, 'mJ').rows
  assert [row['answered_accuracy'] for row in rows] == [None] * 3
  assert [row['mean_exit'] for row in rows] == [None] * 3
  assert [row['missed_share_low'] for row in rows] == [1.0] * 3
