from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.evaluation import predict
from mecl_jax.inference.segments import Chain, cut, prefix
from tests.inference.networks import IMAGES, NETWORKS, build

FEW = IMAGES[:1]
ROUNDING = 2e-6  # of logits, of which the largest is about 3


@pytest.mark.parametrize('name', NETWORKS)
def test_a_chain_says_what_the_network_says(name):
  model = build(name)
  said = np.stack([np.asarray(logits) for logits in Chain(cut(model), FEW.shape)(FEW)], axis=1)
  np.testing.assert_allclose(said, predict(model, FEW), atol=ROUNDING)


@pytest.mark.parametrize('name', ['conv', 'cascade'])
def test_a_prefix_is_the_network_up_to_an_exit(name):
  model = build(name)
  part = prefix(model, 'stage2')
  said = part.compile(jax.ShapeDtypeStruct(FEW.shape, FEW.dtype))(part.leaves, FEW)
  np.testing.assert_allclose(said, predict(model, FEW, ['stage2'])[:, 0], atol=ROUNDING)


def numbers(leaves):
  return sum(leaf.size for leaf in leaves)


def test_every_array_travels_with_one_segment_alone():
  model = build()
  own = [numbers(segment.leaves) for segment in cut(model)]
  assert sum(own) == numbers(jax.tree.leaves(nnx.state(model))) and min(own) > 0


def test_a_prefix_leaves_behind_what_it_does_not_need():
  model = build()
  of_heads = sum(
    numbers(jax.tree.leaves(nnx.state(model.heads[name]))) for name in ('stage1', 'stage2')
  )
  everything = numbers(jax.tree.leaves(nnx.state(model)))
  assert numbers(prefix(model, 'final').leaves) == everything - of_heads


def test_dropout_is_off_and_its_keys_do_not_travel():
  model = build(head='mlp')
  model.train()
  first = cut(model)[0]
  assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in first.leaves)
  one, other = (next(Chain([first], FEW.shape)(FEW)) for _ in range(2))
  np.testing.assert_array_equal(one, other)
  np.testing.assert_allclose(one, predict(model, FEW, ['stage1'])[:, 0], atol=1e-5)
