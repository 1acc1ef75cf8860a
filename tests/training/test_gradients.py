import functools
import itertools

from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from mecl_jax.training import gradients
from mecl_jax.training.objective import Objective
from tests.training.test_step import KEY, SOURCE, batches, make_model, phase, prepare

RNG = np.random.default_rng(0)
EXITS = ('stage1', 'stage2', 'final')
PLAIN = {'optimizer': 'sgd', 'momentum': 0.0, 'weight_decay': 0.0}


def vectors(exits=3, size=6):
  return RNG.normal(size=(exits, size)).astype(np.float32)


def test_pcgrad_of_two_conflicting_gradients():
  a, b = np.array([1.0, 0, 0], np.float32), np.array([-1.0, 1, 0], np.float32)
  expected = (a - (a @ b) / (b @ b) * b) + (b - (a @ b) / (a @ a) * a)
  both = np.stack([a, b])
  weights = gradients.pcgrad(jnp.asarray(both @ both.T), KEY)
  np.testing.assert_allclose(weights @ both, expected, rtol=1e-6)


def test_pcgrad_projects_in_the_order_of_the_key():
  given = vectors(4)
  given[1:] -= 1.5 * given[0]  # conflicts
  expected = np.zeros(6)
  for number, key in enumerate(jax.random.split(KEY, 4)):
    left = given[number].astype(np.float64)
    for other in np.asarray(jax.random.permutation(key, 4)):
      if other != number and left @ given[other] < 0:
        left = left - (left @ given[other]) / (given[other] @ given[other]) * given[other]
    expected += left
  weights = gradients.pcgrad(jnp.asarray(given @ given.T), KEY)
  np.testing.assert_allclose(weights @ given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('method', [gradients.pcgrad, gradients.cagrad])
def test_no_conflict_and_no_radius_give_the_sum(method):
  given = np.eye(3, 6, dtype=np.float32) + 0.1
  argument = KEY if method is gradients.pcgrad else 0.0
  weights = method(jnp.asarray(given @ given.T), argument)
  np.testing.assert_allclose(weights, np.ones(3), rtol=1e-5)


def cagrad_by_scipy(given, radius):
  """Returns the update from the minimum that SciPy finds on the simplex."""
  mean = given.mean(axis=0)
  reach = radius * np.linalg.norm(mean)

  def objective(w):
    mixed = w @ given
    return mixed @ mean + reach * np.linalg.norm(mixed)

  exits = len(given)
  found = optimize.minimize(
    objective, np.full(exits, 1 / exits), bounds=[(0, 1)] * exits, tol=1e-14,
    constraints={'type': 'eq', 'fun': lambda w: w.sum() - 1}, options={'maxiter': 500},
  )  # fmt: skip
  mixed = found.x @ given
  return exits * (mean + reach / np.linalg.norm(mixed) * mixed) / (1 + radius**2)


@pytest.mark.parametrize('radius', [0.2, 0.4, 0.8])
@pytest.mark.parametrize('exits', [2, 3, 7])
def test_cagrad_equals_scipy(exits, radius):
  for scale in (1e-4, 1.0, 1e3):
    given = scale * (vectors(exits, 20).astype(np.float64) + 0.2)
    given[0] *= 3
    products = jnp.asarray(given @ given.T, jnp.float32)
    update = gradients.cagrad(products, radius) @ given
    expected = cagrad_by_scipy(given / scale, radius) * scale
    np.testing.assert_allclose(update, expected, atol=0.01 * np.linalg.norm(expected))


def test_cagrad_raises_the_least_improvement():
  given = vectors(3, 20) + 0.3
  given[0] *= 5  # one exit dominates the sum
  update = gradients.cagrad(jnp.asarray(given @ given.T), 0.6) @ given
  assert (given @ update).min() > (given @ given.sum(axis=0)).min() / (1 + 0.6**2)


def test_zero_gradients_stay_finite():
  for weights in (
    gradients.pcgrad(jnp.zeros((3, 3)), KEY),
    gradients.cagrad(jnp.zeros((3, 3)), 0.4),
  ):
    assert np.isfinite(weights).all()


@functools.cache
def update_of(method, exits=(1, 1, 1), radius=0.4):
  """Returns the update of one step of gradient descent, name -> array; `exits` are weights."""
  objective = Objective(EXITS, gradients=method, radius=radius)
  step, state, frozen = prepare(phase(), objective=objective, **PLAIN)
  before = jax.tree.map(np.array, state.params)
  sent = batches(1, 3, rate=1.0, weights=np.array(exits, np.float32))
  state, metrics = step(state, frozen, SOURCE, KEY, sent)
  assert metrics.finite.all()
  moved = jax.tree.map(lambda old, new: old - np.asarray(new), before, state.params)
  return flatten_dict(moved, sep='/')


def of_each_exit():
  return [update_of('sum', tuple(row)) for row in np.eye(3, dtype=int).tolist()]


def close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5)


def test_equilibrium_is_the_mean_over_later_exits():
  segments = make_model().segments
  first = {stage: number for number, stages in enumerate(segments) for stage in stages}
  found, parts = update_of('equilibrium'), of_each_exit()
  for name, value in found.items():
    path = name.split('/')
    if path[0] == 'heads':
      close(value, sum(part[name] for part in parts))
    else:
      after = parts[first[path[2]] :]
      close(value, sum(part[name] for part in after) / len(after))


def test_partition_stops_later_exits_at_half_of_the_channels():
  last = make_model().segments[0][-1]
  name = f'backbone/stages/{last}/norm/scale'
  later, own = update_of('partition', (0, 0, 1))[name], update_of('partition', (1, 0, 0))[name]
  half = len(later) // 2
  assert np.abs(later[:half]).min() > 0 and not later[half:].any()
  close(own, update_of('sum', (1, 0, 0))[name])


@pytest.mark.parametrize('method', gradients.PER_EXIT)
def test_step_combines_the_gradients_of_the_exits(method):
  found, parts = update_of(method), of_each_exit()
  shared = [name for name in found if name.startswith('backbone')]
  flat = np.stack([np.concatenate([part[name].ravel() for name in shared]) for part in parts])
  products = jnp.asarray(flat @ flat.T)
  if method == 'cagrad':
    options = [gradients.cagrad(products, 0.4)]
  else:  # the key of the step is its own: one of all orders of the exits
    orders = itertools.product(itertools.permutations(range(3)), repeat=3)
    options = [_pcgrad_in_orders(flat, order) for order in orders]
  mixed = np.concatenate([found[name].ravel() for name in shared])
  distances = [np.linalg.norm(np.asarray(w) @ flat - mixed) for w in options]
  assert min(distances) < 1e-3 * np.linalg.norm(mixed)
  for name in found.keys() - set(shared):
    close(found[name], sum(part[name] for part in parts))


def _pcgrad_in_orders(flat, orders):
  products, total = flat @ flat.T, np.zeros(len(flat))
  for number, order in enumerate(orders):
    left = np.eye(len(flat))[number]
    for other in order:
      product = left @ products[:, other]
      if other != number and product < 0:
        left[other] -= product / products[other, other]
    total += left
  return total


def test_forward_pass_is_the_same_bit_for_bit():
  model, images = make_model(), SOURCE['images'][:8]
  plain = np.asarray(model(images))
  for method in ('equilibrium', 'partition'):
    link = gradients.make_link(method, 3)
    np.testing.assert_array_equal(np.asarray(model(images, None, link)), plain)
