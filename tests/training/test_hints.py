from flax import nnx
import jax
import numpy as np
import pytest

from mecl_jax import models
from mecl_jax.errors import UserError
from mecl_jax.models.heads.head import Head
from mecl_jax.training.hints import hint_losses, new_adapters
from mecl_jax.training.objective import Objective
from mecl_jax.training.optimizers import make_optimizer
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


def adapted():
  """Returns features of 4 examples at three exits, and adapters."""
  features = [RNG.normal(size=(4, width)).astype(np.float32) for width in (2, 5, 3)]
  adapters = {
    name: {
      'kernel': RNG.normal(size=(width, 3)).astype(np.float32),
      'bias': RNG.normal(size=3).astype(np.float32),
    }
    for name, width in (('stage1', 2), ('stage2', 5))
  }
  return features, adapters


def test_hints_are_squared_distances_after_an_adapter():
  features, adapters = adapted()
  found = hint_losses(features, adapters, EXITS)
  for number, name in enumerate(EXITS[:-1]):
    kernel, bias = adapters[name]['kernel'], adapters[name]['bias']
    expected = ((features[number] @ kernel + bias - features[-1]) ** 2).mean(axis=1)
    np.testing.assert_allclose(found[:, number], expected, rtol=1e-5)
  assert not found[:, -1].any()


def test_gradient_reaches_early_features_and_adapters_only():
  features, adapters = adapted()
  of_features, of_adapters = jax.grad(lambda f, a: hint_losses(f, a, EXITS).sum(), (0, 1))(
    features, adapters
  )
  for number, name in enumerate(EXITS[:-1]):
    kernel, bias = adapters[name]['kernel'], adapters[name]['bias']
    error = 2 / 3 * (features[number] @ kernel + bias - features[-1])
    np.testing.assert_allclose(of_features[number], error @ kernel.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
      of_adapters[name]['kernel'], features[number].T @ error, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(of_adapters[name]['bias'], error.sum(axis=0), rtol=1e-4, atol=1e-5)
  assert not of_features[-1].any()


@pytest.mark.parametrize(
  'head',
  [
    'linear',
    'conv',
    'mlp',
    'mixed_pool',
    'cascade_conv',
    pytest.param('vit', marks=pytest.mark.slow),
  ],
)
def test_adapters_have_the_widths_of_the_heads(head):
  model = make_model(head=head)
  adapters = new_adapters(model, EXITS, (8, 8, 1), KEY)
  assert list(adapters) == ['stage1', 'stage2']
  model.eval()
  maps = model.features(IMAGES, EXITS)
  logits, embedded = model.read_embedded(model.summarise(maps, EXITS), EXITS)
  np.testing.assert_array_equal(logits, model.classify(maps, EXITS))
  for name, features in zip(EXITS[:-1], embedded, strict=False):
    assert adapters[name]['kernel'].shape == (features.shape[1], embedded[-1].shape[1])


def test_head_without_embed_is_rejected():
  class Own(Head):
    def read(self, summary):
      return summary.mean(axis=(1, 2))

  model = make_model()
  setattr(model.heads, 'stage2', Own())  # noqa: B010
  with pytest.raises(UserError, match=r'exit stage2, Own, has no `embed`$'):
    new_adapters(model, EXITS, (8, 8, 1), KEY)


def test_step_adds_the_hints_and_trains_the_adapters():
  """Two steps equal an independent formulation, with momentum and weight decay."""
  settings = {'optimizer': 'sgd', 'momentum': 0.9, 'weight_decay': 0.01}
  adapters = new_adapters(make_model(), EXITS, (8, 8, 1), KEY)
  objective = Objective(EXITS, hint=0.3)
  step, state, frozen = prepare(phase(), objective=objective, **settings)
  model, c = make_model(), prepare.__globals__['config'].default().phases.heads
  c.update(settings)
  optimizer = make_optimizer(c)
  params = {**jax.tree.map(np.array, state.params), 'adapters': jax.tree.map(np.array, adapters)}
  opt_state = optimizer.init(params)
  state = state._replace(extra={'adapters': adapters}, opt_state=optimizer.init(params))
  statistics = jax.tree.map(np.array, state.batch_stats)
  models.set_trainable(model, phase().trainable)
  graphdef = nnx.split(model)[0]

  @jax.jit
  def expected_step(params, statistics, opt_state, images, labels):
    def loss(params):
      own = {name: part for name, part in params.items() if name != 'adapters'}
      network = nnx.merge(graphdef, own, statistics, frozen)
      maps = network.features(images)
      inputs = [network.heads[name].summarise(x) for name, x in zip(EXITS, maps, strict=True)]
      embedded = [network.heads[n].embed(x) for n, x in zip(EXITS, inputs, strict=True)]
      total = 0.0
      for name, x in zip(EXITS, embedded, strict=True):
        logits = network.heads[name].linear(x)
        total -= jax.nn.log_softmax(logits)[np.arange(8), labels].mean()
        if name != 'final':
          adapter = params['adapters'][name]
          target = jax.lax.stop_gradient(embedded[-1])
          distance = x @ adapter['kernel'] + adapter['bias'] - target
          total += 0.3 * (distance**2).mean()
      return total, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return jax.tree.map(lambda p, u: p - 0.1 * u, params, updates), statistics, opt_state, value

  for t in range(2):
    sent = batches(1, 3, start=t)
    ids = sent.ids[0]
    state, metrics = step(state, frozen, SOURCE, KEY, sent)
    params, statistics, opt_state, loss = expected_step(
      params, statistics, opt_state, IMAGES[ids], LABELS[ids]
    )
    np.testing.assert_allclose(metrics.loss[0], loss, rtol=1e-4)
  found = {**state.params, 'adapters': state.extra['adapters']}
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4), found, params)
  assert step._cache_size() == 1
