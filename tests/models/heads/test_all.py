from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.macs import count_macs
from mecl_jax.models.registry import CASCADE, HEADS

PLAIN = [name for name in HEADS if not name.startswith(CASCADE)]


def make(name, shape, classes=4, **changes):
  settings = {'width': 8, 'dtype': jnp.float32, 'rngs': nnx.Rngs(0), **changes}
  return HEADS[name](shape, classes, **settings)


@pytest.mark.parametrize('name', PLAIN)
@pytest.mark.parametrize('shape', [(1, 1, 3), (2, 2, 3), (5, 7, 3), (112, 112, 3)])
def test_every_head_takes_every_size(name, shape):
  if min(shape[:2]) < HEADS[name].smallest:
    pytest.skip('too small for it')
  head = HEADS[name](shape, 7, width=4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
  head.eval()
  logits = jax.eval_shape(head, jnp.ones((2, *shape), jnp.bfloat16))
  assert logits.shape == (2, 7)
  assert logits.dtype == jnp.float32


def test_the_linear_head_is_a_mean_and_a_product():
  head = HEADS['linear']((2, 2, 3), 4, width=9, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
  expected = x.mean((1, 2)) @ head.linear.kernel[...] + head.linear.bias[...]
  np.testing.assert_allclose(head(jnp.asarray(x)), expected, rtol=1e-5)


def test_the_conv_head_has_the_width_asked_for():
  head = HEADS['conv']((4, 4, 3), 4, width=9, dtype=jnp.float32, rngs=nnx.Rngs(0))
  assert head.conv.kernel.shape == (3, 3, 3, 9)
  assert head.linear.kernel.shape == (9, 4)


@pytest.mark.parametrize('name', PLAIN)
def test_every_part_of_every_head_learns(name):
  head = HEADS[name]((6, 6, 3), 4, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0))
  head.train()
  x = np.random.default_rng(0).normal(size=(5, 6, 6, 3)).astype(np.float32)
  gradient = nnx.grad(lambda head: jnp.square(head(x) - jnp.arange(4)).sum())(head)
  for path, value in nnx.to_flat_state(gradient):
    flat = np.asarray(value[...])
    assert np.isfinite(flat).all()
    if path[-2:] != ('key', 'bias'):  # softmax does not see what all keys share
      assert flat.any(), path


def test_mixed_pool_begins_half_way_between_mean_and_maximum():
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
def test_the_separable_head_halves_the_map_until_4x4_pixels_and_doubles_the_channels(side, blocks):
  head = nnx.eval_shape(lambda: make('separable', (side, side, 3)))
  assert len(head.blocks) == blocks
  assert head.linear.kernel.shape == (3 * 2**blocks, 4)


def test_a_separable_block_costs_its_depthwise_and_pointwise_products():
  head = make('separable', (8, 8, 3), 4)
  depthwise, pointwise = 16 * 9 * (3 + 3), 16 * (3 * 3 + 3 * 6)
  assert count_macs(head, jnp.zeros((1, 8, 8, 3))) == depthwise + pointwise + 6 * 4


@pytest.mark.parametrize('name', ['vit', 'mixer'])
def test_heads_of_tokens_tell_places_apart(name):
  """Unlike an average, which sees only what is there, not where."""
  head = HEADS[name]((4, 4, 3), 5, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
  assert not np.allclose(head(jnp.asarray(x)), head(jnp.asarray(x[:, ::-1])), atol=1e-3)


@pytest.mark.parametrize('name', ['vit', 'mixer'])
def test_large_maps_are_cut_into_at_most_64_patches(name):
  for side, count in ((2, 4), (8, 64), (9, 25), (112, 64)):
    head = nnx.eval_shape(
      lambda name=name, side=side: HEADS[name](
        (side, side, 3), 5, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0)
      )
    )
    assert head.patches.count == count


def test_the_mlp_head_drops_half_in_training_and_nothing_in_evaluation():
  head = make('mlp', (6, 6, 3))
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6, 3)), jnp.float32)
  head.eval()
  np.testing.assert_array_equal(head(x), head(x))
  head.dropout.train()
  kept = jnp.ones((2000,))
  share = np.mean(np.asarray(head.dropout(kept)) > 0)
  assert 0.45 < share < 0.55
  assert not np.array_equal(head(x), head(x))


def test_the_mlp_head_pools_to_16_pixels_and_flattens():
  for side, pixels in ((2, 4), (4, 16), (5, 9), (8, 16), (112, 16)):
    head = nnx.eval_shape(lambda side=side: make('mlp', (side, side, 3), width=2))
    assert head.dense.kernel.shape == (2 * pixels, 8)
