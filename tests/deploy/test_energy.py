"""The simulation of stores of energy and budgets."""

import math

import numpy as np
import pytest

from mecl_jax.deploy import energy
from mecl_jax.deploy.energy import Plan, daylight, run_trace
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.store import Spender, Store
from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.rules import Rule
from tests.deploy.bundles import make_images, make_policy, random_tables, write_bundle
from tests.deploy.energy_cases import device, split

GREEDY, THRESHOLD = Plan('greedy', False), Plan('threshold', True)


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


def test_images_are_those_of_every_plan():
  test, leaving = split('test', (0.5, 0.5, 0.5)), np.full(200, 2)
  rich = device(capacity=1e6, level=1e6)
  one, other = (energy.repeat(test, leaving, rich, plan).values for plan in (GREEDY, THRESHOLD))
  assert (one['right_share'] == other['right_share']).all()
  assert len(set(one['right_share'])) > 5  # but other repetitions have others


def test_reserve_is_chosen_on_validation():
  with pytest.raises(UserError, match='come from the validation split, not from the test split'):
    energy.choose_reserve(split('test'), np.zeros(200, int), device())
  # The first exit is useless on validation: nothing is kept for it, whatever the test split has.
  useless = split('validation', (0.0, 0.0, 1.0))
  chosen = energy.choose_reserve(useless, np.full(200, 2), device())
  assert chosen.reserve == min(energy.SHARES)


def test_rule_is_preferred_where_it_is_as_good():
  sure = split('validation', (1.0, 1.0, 1.0))
  chosen = energy.choose_reserve(sure, np.zeros(200, int), device(capacity=1e3, level=1e3))
  assert chosen == Plan('reserve', by_rule=True, reserve=0.1)
