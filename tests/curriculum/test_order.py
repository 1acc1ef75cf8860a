import numpy as np
import pytest

from mecl_jax.curriculum import NEED_TEACHER, make_order
from mecl_jax.errors import UserError

LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORE = np.array([0.3, 0.1, 0.2, 0.9, 0.8, 0.7])


def order(name, score=SCORE, labels=LABELS, **more):
  return make_order(name, score, labels, seed=0, **more).tolist()


def test_easy_first_alternates_between_classes():
  assert order('easy_first') == [1, 5, 2, 4, 0, 3]


def test_anti_alternates_between_classes():
  assert order('anti') == [3, 0, 4, 2, 5, 1]


def test_order_without_class_balance():
  assert order('easy_first', class_balanced=False) == [1, 2, 0, 5, 4, 3]
  assert order('anti', class_balanced=False) == [3, 4, 5, 0, 2, 1]


def test_none_keeps_the_stored_order():
  assert order('none', None) == list(range(6))


@pytest.mark.parametrize('name', ['easy_first', 'anti', 'random'])
def test_every_prefix_is_class_balanced(name):
  rng = np.random.default_rng(1)
  labels = rng.permutation(np.repeat([0, 1, 2, 3], [30, 30, 30, 50]))
  ranking = make_order(name, rng.random(140), labels, seed=5)
  assert sorted(ranking) == list(range(140))
  for prefix in range(4, 121, 4):
    assert np.bincount(labels[ranking[:prefix]]).tolist() == [prefix // 4] * 4
  assert (labels[ranking[120:]] == 3).all()


def test_seed_breaks_ties():
  labels, score = np.zeros(100, int), np.zeros(100)
  a, b = (make_order('easy_first', score, labels, seed=s).tolist() for s in (0, 1))
  assert a != b and a != list(range(100))


def test_random_is_seeded_and_needs_no_score():
  assert order('random', None) == order('random', SCORE)


def test_unknown_order_is_rejected():
  with pytest.raises(UserError, match='easy_first, anti, random, none'):
    order('easy-first')


@pytest.mark.parametrize('name', NEED_TEACHER)
def test_missing_score_is_rejected(name):
  with pytest.raises(UserError, match='needs difficulty scores'):
    make_order(name, None, np.zeros(4, int), seed=0)
