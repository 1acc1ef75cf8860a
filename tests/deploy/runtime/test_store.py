"""Stores of energy, and the images that they pay for."""

import math

import numpy as np
import pytest

from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.store import Spender, Store, affordable
from tests.deploy.bundles import make_images, make_policy, on_run, random_tables, write_bundle

COSTS = [1.0, 2.0, 4.0]
TABLES = random_tables()
IMAGES = make_images(range(256))


@pytest.mark.parametrize(
  ('amount', 'reserve', 'segments'),
  [
    (0, 0, 0),
    (0.99, 0, 0),
    (1, 0, 1),
    (2.99, 0, 1),
    (3, 0, 2),
    (6.99, 0, 2),
    (7, 0, 3),
    (math.inf, 0, 3),
    (1, 5, 1),  # the first segment needs no reserve
    (7.99, 5, 1),
    (8, 5, 2),
    (12, 5, 3),
    (0.5, 5, 0),
  ],
)
def test_amount_pays_for_segments(amount, reserve, segments):
  assert affordable(COSTS, amount, reserve) == segments


def test_rounding_of_sums_takes_no_segment_away():
  assert 0.1 + 0.2 > 0.3 and affordable([0.1, 0.2], 0.3) == 2
  store = Store([0.1, 0.2], 0.3, 0.3)
  assert store.pay(store.segments()) == pytest.approx(0.3) and store.level == 0


def test_income_above_the_capacity_is_lost():
  store = Store(COSTS, capacity=10, level=8)
  assert (store.add(1), store.level) == (0, 9)
  assert (store.add(4), store.level) == (3, 10)
  assert (store.refill(2), store.level) == (0, 2)
  assert (store.refill(12), store.level) == (2, 10)


def test_waking_is_paid_with_the_first_segment():
  store = Store(COSTS, capacity=20, level=3.5, wake=3)
  assert store.segments() == 0 and store.pay(0) == 0 and store.level == 3.5
  store.add(3)
  assert store.segments() == 2
  assert store.pay(1) == 4 and store.level == 2.5


def test_nothing_is_made_or_lost_unseen():
  draw, store = np.random.default_rng(0), Store(COSTS, capacity=9, level=4, wake=0.5, reserve=2)
  income = used = lost = 0.0
  for each in draw.exponential(2, 500):
    income, lost = income + each, lost + store.add(each)
    used += store.pay(store.segments())
    assert 0 <= store.level <= 9
  assert lost > 0 and used > 0
  assert store.level == pytest.approx(4 + income - lost - used)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'capacity': 0}, 'the capacity of the store is 0; it must be above 0'),
    ({'capacity': math.nan}, 'the capacity of the store is nan'),
    ({'capacity': 5, 'level': 6}, 'the level of the store is 6, above its capacity 5'),
    ({'level': -1}, 'must be finite numbers of 0 or more'),
    ({'wake': math.nan}, 'must be finite numbers of 0 or more'),
    ({'reserve': math.inf}, 'must be finite numbers of 0 or more'),
    ({'costs': []}, 'must be finite numbers of 0 or more'),
    ({'costs': [1, -1]}, 'must be finite numbers of 0 or more'),
  ],
)
def test_bad_numbers_are_rejected(settings, message):
  with pytest.raises(BundleError, match=message):
    Store(**{'costs': COSTS, **settings})


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  pytest.importorskip('onnx', reason='the models of these tests are made with it')
  pytest.importorskip('onnxruntime', reason='it runs the models of a bundle')
  policies = {'first': make_policy('fixed', ['-inf', 'inf']), 'last': make_policy()}
  return Network(write_bundle(tmp_path_factory.mktemp('toy'), TABLES, policies=policies), threads=1)


def test_segments_that_are_not_paid_do_not_run(network, monkeypatch):
  ran = []
  monkeypatch.setattr(network, '_segments', network._segments)
  on_run(network, lambda number, images: ran.append(number))
  for segments in (1, 2, 3):
    ran.clear()
    answer = network.answer(IMAGES[7], segments=segments)
    assert (answer.exit, ran) == (segments - 1, [*range(segments)])
    assert (answer.logits == TABLES[segments - 1][7]).all()
  assert network.answer(IMAGES[7], segments=3, policy='first').exit == 0
  with pytest.raises(BundleError, match='segments is 0; it must be 1 or more'):
    network.answer(IMAGES[7], segments=0)


def test_store_decides_how_deep_images_go(network):
  spender = Spender(network, Store(COSTS, capacity=8, level=0))
  answers = [spender.answer(IMAGES[k], income) for k, income in enumerate([0.5, 0.5, 4, 20, 0])]
  assert [each and each.exit for each in answers] == [None, 0, 1, 2, 0]
  assert spender.store.level == 0


def test_policy_leaves_earlier_and_pays_less(network):
  spender = Spender(network, Store(COSTS, capacity=8, level=8), policy='first')
  assert spender.answer(IMAGES[0]).exit == 0 and spender.store.level == 7


def test_budget_is_not_kept_for_the_next_image(network):
  spender = Spender(network, Store(COSTS))
  found = [spender.answer(IMAGES[0], budget=budget) for budget in (7, 3.5, 0.5, 1)]
  assert [each and each.exit for each in found] == [2, 1, None, 0]


def test_spender_must_fit_the_bundle(network):
  with pytest.raises(BundleError, match='there are costs of 2 segments, but the bundle has 3'):
    Spender(network, Store([1, 2]))
  with pytest.raises(BundleError, match="policy 'best' is not one of first, last"):
    Spender(network, Store(COSTS), policy='best')
