from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models import set_trainable
from tests.models.networks import IMAGES, build

pytestmark = pytest.mark.stacks


def training_pass(**changes):
  """Returns (function of the parameters and the other state, its arguments) of a network.

  The function returns a loss, and the updated batch statistics.
  """
  model = build(**changes)
  set_trainable(model, [('backbone',), *(('heads', name) for name in model.exit_names)])
  graphdef, *states = nnx.split(model, nnx.Param, ...)

  def loss(params, rest):
    merged = nnx.merge(graphdef, params, rest)
    logits = merged(IMAGES)
    return jnp.square(logits).sum(), nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

  return loss, tuple(map(nnx.to_pure_dict, states))


def kept_bytes(loss, state):
  """Returns the size of all arrays that the backward pass needs from the forward pass."""
  params, rest = state
  backward = jax.eval_shape(
    lambda params, rest: jax.vjp(lambda p: loss(p, rest), params, has_aux=True)[1], params, rest
  )
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def test_remat_keeps_less_for_the_backward_pass():
  plain, state = training_pass(backbone='resnet14')
  remat, _ = training_pass(backbone='resnet14', remat=True)
  assert kept_bytes(remat, state) < 0.5 * kept_bytes(plain, state)


def test_remat_changes_neither_gradients_nor_statistics():
  plain, state = training_pass()
  remat, _ = training_pass(remat=True)
  results = [jax.jit(jax.value_and_grad(loss, has_aux=True))(*state) for loss in (plain, remat)]
  for ours, theirs in zip(*map(jax.tree.leaves, results), strict=True):
    rounding = 1e-5 * np.abs(theirs).max()  # sums of float32 in another order
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=rounding)
