import math
import types

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from mecl_jax import config, models
from mecl_jax.training import weight_network
from mecl_jax.training.objective import Objective
from mecl_jax.training.optimizers import make_optimizer
from mecl_jax.training.weight_network import judgement, leaving, new_network, predicted_weights
from tests.training.test_step import (
  IMAGES,
  KEY,
  LABELS,
  SOURCE,
  batches,
  make_model,
  phase,
  prepare,
)

pytestmark = pytest.mark.stacks

RNG = np.random.default_rng(0)
EXITS = ('stage1', 'stage2', 'final')


def dense(x, layer):
  return x @ np.asarray(layer['kernel'], np.float64) + np.asarray(layer['bias'], np.float64)


def weights_by_hand(params, losses):
  outputs = np.tanh(dense(np.maximum(dense(losses, params['hidden']), 0), params['output']))
  return 1 + 0.8 * (outputs - outputs.mean())


def test_weights_by_hand():
  params = new_network(3, KEY)['params']
  losses = RNG.gamma(2.0, size=(16, 3))
  found = jax.jit(predicted_weights)(params, losses)
  np.testing.assert_allclose(found, weights_by_hand(params, losses), rtol=1e-4)
  assert np.ptp(found) > 0.05 and np.mean(found) == pytest.approx(1)


def leaving_by_hand(logits):
  """Returns the exit of every example, as the authors choose it: one exit after the other."""
  count, exits, _ = logits.shape
  shares = 0.75 ** np.arange(1, exits + 1)
  shares /= shares.sum()
  sure, left, chosen = special.softmax(logits, axis=-1).max(axis=-1), set(range(count)), {}
  for number in range(exits):
    ranked = [i for i in np.argsort(-sure[:, number]) if i in left]
    size = math.floor(count * shares[number]) if number < exits - 1 else len(ranked)
    for index in ranked[:size]:
      chosen[index] = number
      left.remove(index)
  return np.array([chosen[index] for index in range(count)])


@pytest.mark.parametrize(('exits', 'count'), [(2, 64), (3, 5), (7, 2), (7, 64)])
def test_surest_examples_leave_at_each_exit(count, exits):
  logits = RNG.normal(size=(count, exits, 4))
  found = np.asarray(jax.jit(leaving)(jnp.asarray(logits, jnp.float32)))
  assert (found.sum(axis=1) == 1).all()
  np.testing.assert_array_equal(found.argmax(axis=1), leaving_by_hand(logits))


def judgement_by_hand(logits, labels):
  where = leaving_by_hand(logits)
  losses = -special.log_softmax(logits, axis=-1)[np.arange(len(labels)), :, labels]
  exits = range(logits.shape[1])
  return sum(losses[where == k, k].mean() for k in exits if (where == k).any())


def test_judgement_is_a_mean_over_those_that_leave():
  logits, labels = RNG.normal(size=(17, 3, 4)), RNG.integers(0, 4, 17)
  expected = judgement_by_hand(logits, labels)
  np.testing.assert_allclose(jax.jit(judgement)(logits, labels), expected, rtol=1e-5)


def test_gradient_equals_finite_differences(monkeypatch):
  """Of a linear network with three exits, whose gradient is written down in NumPy."""
  inputs, labels = RNG.normal(size=(40, 5)), RNG.integers(0, 4, 40)
  matrix, weights = RNG.normal(size=(3, 5, 4)), RNG.uniform(0.5, 1.5, (40, 3))
  rate = 2.0

  def logits_of(matrix, state, frozen, examples, key):
    return jnp.einsum('bi,kic->bkc', examples['inputs'], matrix)

  def losses_of(matrix, examples):
    log_p = jax.nn.log_softmax(logits_of(matrix, None, None, examples, None))
    return -jnp.take_along_axis(log_p, examples['labels'][:, None, None], axis=-1)[..., 0]

  def loss_of(matrix, network, state, frozen, examples, weights, key):
    losses = losses_of(matrix, examples)
    return (weights * predicted_weights(network, losses) * losses).sum() / len(losses)

  def move(matrix, gradient, state, batch):
    return matrix - rate * gradient

  def judged_by_hand(params):
    x, y, w = inputs[::2], labels[::2], weights[::2]
    logits = np.einsum('bi,kic->bkc', x, matrix)
    losses = -special.log_softmax(logits, axis=-1)[np.arange(20), :, y]
    scale = (w * weights_by_hand(params, losses) / 20)[..., None]
    error = scale * (special.softmax(logits, axis=-1) - np.eye(4)[y][:, None])
    ahead = matrix - rate * np.einsum('bi,bkc->kic', x, error)
    return judgement_by_hand(np.einsum('bi,kic->bkc', inputs[1::2], ahead), labels[1::2])

  monkeypatch.setattr(weight_network, 'OPTIMIZER', optax.identity())
  network = new_network(3, KEY)
  learn = weight_network.make_learn(loss_of, logits_of, move)
  batch = types.SimpleNamespace(weights=np.float32(weights), weight_rate=1.0)
  examples = {'inputs': np.float32(inputs), 'labels': labels}
  learned = learn(network, jnp.float32(matrix), None, None, examples, batch, None)
  gradient = jax.tree.map(lambda p, n: np.float64(p) - n, network['params'], learned['params'])
  for seed in range(3):
    random, step = np.random.default_rng(seed), 1e-4
    way = jax.tree.map(lambda g: np.sign(g) * random.random(g.shape), gradient)  # noqa: B023
    judged = [
      judged_by_hand(jax.tree.map(lambda p, d: p + sign * step * d, network['params'], way))  # noqa: B023
      for sign in (1, -1)
    ]
    slope = (judged[0] - judged[1]) / (2 * step)
    along = sum((g * d).sum() for g, d in zip(*map(jax.tree.leaves, (gradient, way)), strict=True))
    assert slope > 0.01 and along == pytest.approx(slope, rel=1e-2)


def test_rates_fall_to_zero_by_a_cosine():
  rates = weight_network.learning_rates(4, 0.1)
  np.testing.assert_allclose(rates, [0.1, 0.0853553, 0.05, 0.0146447], rtol=1e-5)


@pytest.mark.slow
def test_step_looks_ahead_and_trains_with_the_new_weights():
  """The second step equals an independent formulation, with Nesterov momentum and decay."""
  settings = {'optimizer': 'sgd', 'momentum': 0.9, 'weight_decay': 0.01}
  c = config.default().phases.heads
  c.update(settings)
  optimizer = make_optimizer(c)
  step, state, frozen = prepare(
    phase(), objective=Objective(EXITS, sample_weights='l2w_den'), **settings
  )
  state = state._replace(extra={'weight_network': new_network(3, KEY)})
  model = make_model()
  models.set_trainable(model, phase().trainable)
  graphdef = nnx.split(model)[0]

  def send(t, weight_rate):
    sent = batches(1, 3, start=t, rate=0.3, weights=np.float32([1, 2, 0.5]))
    return sent._replace(weight_rate=np.float32([weight_rate]))

  state, _ = step(state, frozen, SOURCE, KEY, send(0, 1e-3))
  before = jax.tree.map(jnp.array, state)

  def logits_of(params, images):
    return nnx.merge(graphdef, params, before.batch_stats, frozen)(images)

  def losses_of(params, images, labels):
    log_p = jax.nn.log_softmax(logits_of(params, images))
    return -jnp.take_along_axis(log_p, labels[:, None, None], axis=-1)[..., 0]

  def moved(params, network, images, labels):
    def loss(params):
      losses = losses_of(params, images, labels)
      weights = jnp.array([1, 2, 0.5]) * predicted_weights(network, losses)
      return (weights * losses).sum(axis=1).mean()

    updates, _ = optimizer.update(jax.grad(loss)(params), before.opt_state, params)
    return jax.tree.map(lambda p, u: p - 0.3 * u, params, updates)

  @jax.jit
  def expected(images, labels):
    def judged(network):
      ahead = moved(before.params, network, images[::2], labels[::2])
      return judgement(logits_of(ahead, images[1::2]), labels[1::2])

    network = before.extra['weight_network']
    gradient = jax.grad(judged)(network['params'])
    decayed = jax.tree.map(lambda g, p: g + 1e-4 * p, gradient, network['params'])
    adam = optax.scale_by_adam()
    updates, _ = adam.update(decayed, network['opt_state'][1])
    learned = jax.tree.map(lambda p, u: p - 2e-3 * u, network['params'], updates)
    return gradient, learned, moved(before.params, learned, images, labels)

  sent = send(1, 2e-3)
  ids = sent.ids[0]
  gradient, learned, params = expected(IMAGES[ids], LABELS[ids])
  state, metrics = step(state, frozen, SOURCE, KEY, sent)
  assert metrics.finite.all() and step._cache_size() == 1
  assert max(np.abs(g).max() for g in jax.tree.leaves(gradient)) > 1e-4
  mean = state.extra['weight_network']['opt_state'][1].mu
  old = before.extra['weight_network']['opt_state'][1].mu
  decay = jax.tree.map(lambda p: 1e-4 * p, before.extra['weight_network']['params'])
  found = jax.tree.map(lambda m, o, d: (m - 0.9 * o) / 0.1 - d, mean, old, decay)

  def close(a, b, rtol=5e-3):
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (a, b))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())

  close(found, gradient)
  close(state.extra['weight_network']['params'], learned, 1e-4)
  close(state.params, params, 1e-3)
