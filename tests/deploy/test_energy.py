"""The simulation of stores of energy and budgets."""

import math

import numpy as np
import pytest

from mecl_jax.deploy import energy
from mecl_jax.deploy.energy import BUDGETS, STORE, Device, Plan, daylight, run_trace, simulate
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.store import Spender, Store
from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy, fixed
from mecl_jax.evaluation.predictions import Predicted
from mecl_jax.evaluation.rules import Rule
from tests.deploy.bundles import make_images, make_policy, random_tables, write_bundle

GREEDY, THRESHOLD = Plan('greedy', False), Plan('threshold', True)
COSTS = (1.0, 1.0, 8.0)
NIGHT = np.repeat([10.0, 0.0], 30)  # as much income as the last exit costs, and then none


def split(name, right=(0.9, 0.9, 1.0), examples=200):
  """Returns a split of two classes whose exits are right on these shares of the images."""
  labels = np.arange(examples) % 2
  wrong = np.random.default_rng(len(name)).permuted(
    np.stack([np.arange(examples) >= round(share * examples) for share in right]), axis=1
  )
  predictions = (labels[:, None] + wrong.T) % 2
  return Predicted(name, 4.0 * np.eye(2)[predictions], labels)


def device(**changes):
  settings = {'costs': COSTS, 'wake': 0.0, 'capacity': 40.0, 'level': 20.0, 'income': NIGHT}
  return Device(**settings | changes)


def test_trace_by_hand():
  store, amounts, most = Store([1, 2], 4, 1), np.array([0, 1, 3, 0, 9.5]), np.array([2, 2, 1, 2, 2])
  trace = run_trace(store, store.add, amounts, most)
  assert trace.exits.tolist() == [0, 0, 0, 0, 1]
  assert trace.levels.tolist() == [0, 0, 2, 1, 1]
  assert trace.used.tolist() == [1, 1, 1, 1, 3] and trace.lost.tolist() == [0, 0, 0, 0, 6.5]


def test_decisions_are_those_of_a_bundle(tmp_path):
  pytest.importorskip('onnx', reason='the models of this test are made with it')
  pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')
  tables = random_tables()
  policies = {'sure': make_policy('margin', [0.3, 0.6])}
  network = Network(write_bundle(tmp_path / 'toy', tables, policies=policies), threads=1)
  leaving = Policy(Rule('margin'), np.array([0.3, 0.6])).leaves_at(np.stack(tables, axis=1))
  income, images = np.random.default_rng(0).exponential(1.5, 256), make_images(range(256))
  settings = {'capacity': 12.0, 'level': 0.5, 'wake': 0.25, 'reserve': 3.0}
  spender = Spender(network, Store([1, 2, 3], **settings), policy='sure')
  exits, levels = [], []
  for image, amount in zip(images, income.tolist(), strict=True):
    answer = spender.answer(image, amount)
    exits.append(-1 if answer is None else answer.exit)
    levels.append(spender.store.level)
  store = Store([1, 2, 3], **settings)
  trace = run_trace(store, store.add, income, leaving + 1)
  assert trace.exits.tolist() == exits and trace.levels.tolist() == levels
  assert set(exits) == {-1, 0, 1, 2}


def test_days_of_light_are_equal_and_dark_at_night():
  income = daylight(3.0, 3 * energy.DAY)
  assert income.mean() == pytest.approx(3, rel=1e-3)
  days = income.reshape(3, 4, -1)  # quarters of each day
  assert (days[:, [0, 3]] == 0).all() and (days[:, 1:3] > 0).all()
  np.testing.assert_allclose(days[0], days[2], atol=1e-12)
  np.testing.assert_allclose(income, daylight(3.0, 1000)[: 3 * energy.DAY])


def test_full_store_answers_as_the_exits_do():
  test, leaving = split('test', (0.5, 0.75, 1.0)), np.full(200, 1)
  rich = device(capacity=1e6, level=1e6)
  greedy = energy.repeat(test, leaving, rich, GREEDY).values
  assert (greedy['right_share'] == 1).all() and (greedy['mean_exit'] == 3).all()
  assert (greedy['used'] == 10).all()
  second = energy.repeat(test, leaving, rich, THRESHOLD).values
  assert second['answered_accuracy'].mean() == pytest.approx(0.75, abs=0.02)
  assert second['used'].mean() == 2 and not second['missed_share'].any()
  # As wide as the error of 200 images and of the 60 that are drawn from them.
  assert second['right_share'].std() == pytest.approx(
    math.sqrt(0.75 * 0.25 * (1 / 200 + 1 / 60)), rel=0.3
  )


def test_empty_store_misses_all_images():
  poor = device(level=0.0, income=np.zeros(5))
  found = energy.repeat(split('test'), np.zeros(200, int), poor, GREEDY, repetitions=3).values
  assert (found['missed_share'] == 1).all() and np.isnan(found['answered_accuracy']).all()
  rows = simulate(split('validation'), split('test'), fixed(0, 3), poor, 'mJ').rows
  assert [row['answered_accuracy'] for row in rows] == [None] * 3
  assert [row['mean_exit'] for row in rows] == [None] * 3


def test_images_are_those_of_every_plan():
  test, leaving = split('test', (0.5, 0.5, 0.5)), np.full(200, 2)
  rich = device(capacity=1e6, level=1e6)
  one, other = (energy.repeat(test, leaving, rich, plan).values for plan in (GREEDY, THRESHOLD))
  assert (one['right_share'] == other['right_share']).all()
  assert len(set(one['right_share'])) > 5  # but other repetitions have others


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


def test_reserve_is_chosen_on_validation():
  with pytest.raises(UserError, match='come from the validation split, not from the test split'):
    energy.choose_reserve(split('test'), np.zeros(200, int), device())
  # The first exit is useless on validation: nothing is kept for it, whatever the test split has.
  useless = split('validation', (0.0, 0.0, 1.0))
  chosen = simulate(useless, split('test'), fixed(2, 3), device(), 'mJ').reserve
  assert chosen.reserve == min(energy.SHARES)


def test_rule_is_preferred_where_it_is_as_good():
  sure = split('validation', (1.0, 1.0, 1.0))
  chosen = energy.choose_reserve(sure, np.zeros(200, int), device(capacity=1e3, level=1e3))
  assert chosen == Plan('reserve', by_rule=True, reserve=0.1)


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


def test_simulation_can_be_stopped():
  def stop():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    simulate(split('validation'), split('test'), fixed(1, 3), device(), 'mJ', stop)
