from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.macs import count_macs
from mecl_jax.models.registry import CASCADE, HEADS
from tests.models.networks import call, quick_jit

PLAIN = [name for name in HEADS if not name.startswith(CASCADE)]


def make(name, shape, classes=4, **changes):
  settings = {'width': 8, 'dtype': jnp.float32, 'rngs': nnx.Rngs(0), **changes}
  return HEADS[name](shape, classes, **settings)


@pytest.mark.parametrize('name', PLAIN)
@pytest.mark.parametrize('shape', [(1, 1, 3), (2, 2, 3), (5, 7, 3), (112, 112, 3)])
def test_heads_accept_all_sizes(name, shape):
  if min(shape[:2]) < HEADS[name].smallest:
    pytest.skip('feature map is too small for this head')
  head = HEADS[name](shape, 7, width=4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
  head.eval()
  logits = jax.eval_shape(head, jnp.ones((2, *shape), jnp.bfloat16))
  assert logits.shape == (2, 7)
  assert logits.dtype == jnp.float32


def test_linear_head_equals_its_definition():
  head = HEADS['linear']((2, 2, 3), 4, width=9, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
  expected = x.mean((1, 2)) @ head.linear.kernel[...] + head.linear.bias[...]
  np.testing.assert_allclose(head(jnp.asarray(x)), expected, rtol=1e-5)


def test_conv_head_width():
  head = HEADS['conv']((4, 4, 3), 4, width=9, dtype=jnp.float32, rngs=nnx.Rngs(0))
  assert head.conv.kernel.shape == (3, 3, 3, 9)
  assert head.linear.kernel.shape == (9, 4)


@pytest.mark.parametrize('name', PLAIN)
def test_all_parameters_get_gradients(name):
  head = HEADS[name]((6, 6, 3), 4, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0))
  head.train()
  x = np.random.default_rng(0).normal(size=(5, 6, 6, 3)).astype(np.float32)
  graphdef, parameters, rest = nnx.split(head, nnx.Param, ...)

  @quick_jit
  @jax.grad
  def gradient(parameters):
    logits = nnx.merge(graphdef, parameters, rest, copy=True)(x)
    return jnp.square(logits - jnp.arange(4)).sum()

  for path, value in nnx.to_flat_state(gradient(parameters)):
    flat = np.asarray(value[...])
    assert np.isfinite(flat).all()
    if path[-2:] != ('key', 'bias'):  # softmax is invariant to a common shift of all keys
      assert flat.any(), path


def test_mixed_pool_begins_with_equal_shares():
  head = HEADS['mixed_pool']((8, 8, 2), 3, width=1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype(np.float32)
  windows = x.reshape(2, 4, 2, 4, 2, 2)
  pooled = (windows.max((2, 4)) + windows.mean((2, 4))) / 2
  expected = pooled.reshape(2, -1) @ head.linear.kernel[...] + head.linear.bias[...]
  np.testing.assert_allclose(head(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
  head.mix[...] = jnp.full((), 100.0)
  expected = windows.max((2, 4)).reshape(2, -1) @ head.linear.kernel[...] + head.linear.bias[...]
  np.testing.assert_allclose(head(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ('side', 'blocks'), [(2, 0), (4, 0), (5, 1), (8, 1), (16, 2), (33, 4), (112, 5)]
)
def test_number_of_separable_blocks(side, blocks):
  head = nnx.eval_shape(lambda: make('separable', (side, side, 3)))
  assert len(head.blocks) == blocks
  assert head.linear.kernel.shape == (3 * 2**blocks, 4)


def test_macs_of_a_separable_block():
  head = make('separable', (8, 8, 3), 4)
  depthwise, pointwise = 16 * 9 * (3 + 3), 16 * (3 * 3 + 3 * 6)
  assert count_macs(head, jnp.zeros((1, 8, 8, 3))) == depthwise + pointwise + 6 * 4


@pytest.mark.parametrize('name', ['vit', 'mixer'])
def test_token_heads_depend_on_position(name):
  head = HEADS[name]((4, 4, 3), 5, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
  assert not np.allclose(call(head, x), call(head, x[:, ::-1]), atol=1e-3)


@pytest.mark.parametrize('name', ['vit', 'mixer'])
def test_token_heads_have_64_patches_at_most(name):
  for side, count in ((2, 4), (8, 64), (9, 25), (112, 64)):
    head = nnx.eval_shape(
      lambda name=name, side=side: HEADS[name](
        (side, side, 3), 5, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0)
      )
    )
    assert head.patches.count == count


def test_mlp_head_uses_dropout_in_training_only():
  head = make('mlp', (6, 6, 3))
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6, 3)), jnp.float32)
  head.eval()
  np.testing.assert_array_equal(head(x), head(x))
  head.dropout.train()
  kept = jnp.ones((2000,))
  share = np.mean(np.asarray(head.dropout(kept)) > 0)
  assert 0.45 < share < 0.55
  assert not np.array_equal(head(x), head(x))


def test_mlp_head_pools_to_16_pixels():
  for side, pixels in ((2, 4), (4, 16), (5, 9), (8, 16), (112, 16)):
    head = nnx.eval_shape(lambda side=side: make('mlp', (side, side, 3), width=2))
    assert head.dense.kernel.shape == (2 * pixels, 8)


def test_max_pool_head_equals_its_definition():
  head = HEADS['max_pool']((2, 2, 3), 4, width=9, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
  np.testing.assert_allclose(
    head(jnp.asarray(x)), x.max((1, 2)) @ head.linear.kernel[...] / 9, rtol=1e-5, atol=1e-7
  )
