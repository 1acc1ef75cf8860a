from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.evaluation import predict
from mecl_jax.inference.segments import Chain, cut, prefix
from tests.inference.networks import IMAGES, NETWORKS, build

pytestmark = pytest.mark.stacks

FEW = IMAGES[:1]
ROUNDING = 2e-6  # of logits, of which the largest is about 3


@pytest.mark.parametrize('name', NETWORKS)
def test_chain_agrees_with_the_network(name):
  model = build(name)
  logits = np.stack([np.asarray(at_exit) for at_exit in Chain(cut(model), FEW.shape)(FEW)], axis=1)
  np.testing.assert_allclose(logits, predict(model, FEW), atol=ROUNDING)


@pytest.mark.parametrize('name', ['conv', 'cascade'])
def test_chain_answers_in_the_unit_of_the_targets(name):
  model, logits = build(name, standardised=True), predict(build(name), FEW)
  model.target_mean[...], model.target_std[...] = 100.0 + jnp.arange(5), 10.0 * jnp.ones(5)
  answers = predict(model, FEW)
  np.testing.assert_allclose(answers, 10 * logits + 100 + np.arange(5), rtol=1e-6)
  chained = np.stack([np.asarray(at_exit) for at_exit in Chain(cut(model), FEW.shape)(FEW)], axis=1)
  np.testing.assert_allclose(chained, answers, rtol=1e-5)


@pytest.mark.parametrize('name', ['conv', 'cascade'])
def test_prefix_is_the_network_up_to_an_exit(name):
  model = build(name)
  part = prefix(model, 'stage2')
  logits = part.compile(jax.ShapeDtypeStruct(FEW.shape, FEW.dtype))(part.leaves, FEW)
  np.testing.assert_allclose(logits, predict(model, FEW, ['stage2'])[:, 0], atol=ROUNDING)


def parameters(leaves):
  return sum(leaf.size for leaf in leaves)


def test_each_array_belongs_to_one_segment():
  model = build()
  own = [parameters(segment.leaves) for segment in cut(model)]
  assert sum(own) == parameters(jax.tree.leaves(nnx.state(model))) and min(own) > 0


def test_prefix_has_only_the_arrays_it_needs():
  model = build()
  of_heads = sum(
    parameters(jax.tree.leaves(nnx.state(model.heads[name]))) for name in ('stage1', 'stage2')
  )
  everything = parameters(jax.tree.leaves(nnx.state(model)))
  assert parameters(prefix(model, 'final').leaves) == everything - of_heads


def test_dropout_is_off():
  model = build(head='mlp')
  model.train()
  first = cut(model)[0]
  assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in first.leaves)
  one, other = (next(Chain([first], FEW.shape)(FEW)) for _ in range(2))
  np.testing.assert_array_equal(one, other)
  np.testing.assert_allclose(one, predict(model, FEW, ['stage1'])[:, 0], atol=1e-5)
