import functools

from flax import nnx
from flax.traverse_util import flatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mecl_jax import config
from mecl_jax.errors import UserError
from mecl_jax.models import BACKBONES, HEADS
from mecl_jax.training.optimizers import learning_rates, make_optimizer

pytestmark = pytest.mark.stacks


def settings(**changes):
  s = config.default().phases.joint
  s.warmup = '0 steps'
  s.update(changes)
  return s


def rates(steps=10, **changes):
  return learning_rates(settings(**changes), steps=steps, epoch=5, field='phases.joint')


def test_constant():
  np.testing.assert_allclose(rates(schedule='constant'), [0.1] * 10)


def test_cosine_at_every_step():
  expected = 0.05 * (1 + np.cos(np.pi * np.arange(10) / 10))
  np.testing.assert_allclose(rates(schedule='cosine'), expected, rtol=1e-6)


def test_linear_falls_to_zero_after_its_warmup():
  got = rates(schedule='linear', warmup='4 steps')
  np.testing.assert_allclose(got[:4], [0.02, 0.04, 0.06, 0.08], rtol=1e-6)
  np.testing.assert_allclose(got[4:], 0.1 * (1 - np.arange(6) / 6), rtol=1e-5, atol=1e-9)


def test_warmup_rises_from_above_zero_to_the_peak():
  got = rates(schedule='cosine', warmup='4 steps')
  np.testing.assert_allclose(got[:5], [0.02, 0.04, 0.06, 0.08, 0.1], rtol=1e-6)
  np.testing.assert_allclose(got[4:], 0.05 * (1 + np.cos(np.pi * np.arange(6) / 6)), rtol=1e-5)


def test_step_multiplies_at_its_milestones():
  got = rates(schedule='step', milestones=('50%', '8 steps'), decay=0.5)
  np.testing.assert_allclose(got, [0.1] * 5 + [0.05] * 3 + [0.025] * 2)


def test_milestones_count_from_the_start_of_the_phase():
  got = rates(schedule='step', warmup='2 steps', milestones=('1 epochs',))
  np.testing.assert_allclose(got[2:], [0.1] * 3 + [0.01] * 5, rtol=1e-6)


@pytest.mark.parametrize('milestone', ['25%', '4 steps', '0%'])
def test_milestone_within_the_warmup_is_rejected(milestone):
  """Otherwise the rate would fall by the factors of all of them in one step after its rise."""
  at = {'25%': 3, '4 steps': 4, '0%': 0}[milestone]
  message = f"phases.joint.milestones has '{milestone}', step {at}, within phases.joint.warmup of 5"
  with pytest.raises(UserError, match=message):
    rates(schedule='step', warmup='5 steps', milestones=(milestone, '70%'))
  got = rates(schedule='step', warmup='5 steps', milestones=('50%', '80%'), decay=0.5)
  np.testing.assert_allclose(got[5:], [0.05] * 3 + [0.025] * 2, rtol=1e-6)


def test_one_cycle_rises_then_falls():
  got = rates(schedule='one_cycle', warmup='30%')
  assert got.argmax() == 3 and got[3] == pytest.approx(0.1)
  assert (np.diff(got[:4]) > 0).all() and (np.diff(got[3:]) < 0).all() and got[-1] < 0.01


def test_warmup_as_long_as_the_phase_is_rejected():
  with pytest.raises(
    UserError,
    match=r'phases\.joint\.warmup is 10 steps; it must be shorter than the phase, which has 10',
  ):
    rates(warmup='10 steps')


REFERENCE = {
  'sgd': lambda mask: optax.chain(
    optax.add_decayed_weights(0.01, mask), optax.sgd(0.1, momentum=0.9, nesterov=True)
  ),
  'adam': lambda mask: optax.chain(optax.add_decayed_weights(0.01, mask), optax.adam(0.1)),
  'adamw': lambda mask: optax.adamw(0.1, weight_decay=0.01, mask=mask),
}


@pytest.mark.parametrize('name', REFERENCE)
def test_optimizers_equal_those_of_optax(name):
  """Weight decay applies to the kernel only."""
  params = {'layer': {'kernel': jnp.ones((3, 2)), 'bias': jnp.ones(2)}}
  ours = make_optimizer(settings(optimizer=name, weight_decay=0.01))
  theirs = REFERENCE[name]({'layer': {'kernel': True, 'bias': False}})
  mine, other, state, reference = params, params, ours.init(params), theirs.init(params)
  for seed in range(4):
    grads = jax.tree.map(lambda p, s=seed: jax.random.normal(jax.random.key(s), p.shape), params)
    updates, state = ours.update(grads, state, mine)
    mine = jax.tree.map(lambda p, u: p - 0.1 * u, mine, updates)
    updates, reference = theirs.update(grads, reference, other)
    other = optax.apply_updates(other, updates)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), mine, other)


QUICK = ('resnet8', 'efficientnet_lite0', 'vit9_cifar', 'speedrun')


def parts(chosen):
  """Yields the name and the parameters of chosen backbones and heads, as shapes."""
  makers = {name: functools.partial(entry, 3) for name, entry in BACKBONES.items()}
  makers |= {name: functools.partial(entry, (16, 16, 16), 10) for name, entry in HEADS.items()}
  for name, make in makers.items():
    if not chosen(name):
      continue
    made = functools.partial(make, width=8, dtype=jnp.float32)
    module = nnx.eval_shape(lambda made=made: made(rngs=nnx.Rngs(0)))
    yield name, nnx.to_pure_dict(nnx.state(module, nnx.Param))


@pytest.mark.parametrize(
  'chosen',
  [
    pytest.param(lambda name: name in HEADS or name in QUICK, id='quick'),
    pytest.param(lambda name: name not in HEADS, id='all', marks=pytest.mark.slow),
  ],
)
def test_kernels_of_every_network_decay_and_nothing_else(chosen):
  """A parameter with another name needs a decision: it is listed here, or it is a kernel."""
  others = {'bias', 'scale', 'positions', 'token', 'mix'}
  shapes = dict(parts(chosen))
  ones = jax.tree.map(lambda p: np.ones((1,) * len(p.shape)), shapes)
  decay = make_optimizer(settings(optimizer='sgd', momentum=0.0, weight_decay=0.5))
  with jax.disable_jit():
    updates, _ = decay.update(jax.tree.map(np.zeros_like, ones), decay.init(ones), ones)
  for path, update in flatten_dict(updates).items():
    assert path[-1] == 'kernel' or path[-1] in others, path
    assert update == (0.5 if path[-1] == 'kernel' else 0.0), path


PARAMS = {
  'conv': {'kernel': jnp.ones((3, 3, 2, 4))},
  'norm': {'scale': jnp.ones(4), 'bias': jnp.ones(4)},
  'dense': {'kernel': jnp.ones((4, 4)), 'bias': jnp.ones(4)},
  'linear': {'kernel': jnp.ones((4, 2)), 'bias': jnp.ones(2)},
}


def first_update(params=PARAMS, **changes):
  """Returns the first update for random gradients."""
  optimizer = make_optimizer(settings(weight_decay=0.0, **changes))
  grads = jax.tree.map(lambda p: jax.random.normal(jax.random.key(p.size), p.shape), params)
  return optimizer.update(grads, optimizer.init(params), params)[0]


@pytest.mark.parametrize('name', ['sgd', 'adam', 'adamw'])
def test_bias_rate_scales_the_biases_of_norms_only(name):
  plain = first_update(optimizer=name)
  scaled = first_update(optimizer=name, bias_rate=64.0)
  scaled['norm']['bias'] /= 64
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), scaled, plain)


def test_muon_orthogonalises_hidden_kernels():
  """All singular values are about 1, as five Newton-Schulz steps leave them."""
  updates = first_update(optimizer='muon')
  for kernel in (updates['conv']['kernel'].reshape(18, 4), updates['dense']['kernel']):
    singular = np.linalg.svd(kernel, compute_uv=False)
    assert singular.max() < 1.3 and singular.min() > 0.5, singular


def test_muon_trains_the_rest_with_adam():
  updates = first_update(optimizer='muon', bias_rate=0.25)
  adam = first_update(optimizer='adam')
  for layer, name in (('norm', 'scale'), ('norm', 'bias'), ('dense', 'bias'), ('linear', 'kernel')):
    np.testing.assert_allclose(updates[layer][name], 0.25 * adam[layer][name], rtol=1e-5)
