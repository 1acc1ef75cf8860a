import functools

from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.inception import InceptionV3
from mecl_jax.models.backbones.inception_blocks import Mixed
from mecl_jax.models.layers import BatchNorm
from mecl_jax.models.macs import stage_costs


@functools.cache
def make(width=32, **settings):
  return nnx.eval_shape(
    lambda: InceptionV3(3, width=width, dtype=jnp.float32, rngs=nnx.Rngs(0), **settings)
  )


@functools.cache
def costs(side, **settings):
  return stage_costs(make(**settings), (side, side, 3))


def shapes(side, **settings):
  return [(cost.shape[0], cost.shape[-1]) for cost in costs(side, **settings)]


# With the classifier. Keras has 23,817,352 parameters, without the 17,216 scales of batch norms.
def test_published_size():
  assert sum(cost.parameters for cost in costs(299)) + 2049 * 1000 == 23_817_352 + 17_216
  assert sum(cost.macs for cost in costs(299)) / 1e9 == pytest.approx(5.71, abs=0.005)


def test_published_shapes():
  assert shapes(299) == [
    (149, 32), (147, 32), (147, 64), (73, 80), (71, 192), (35, 256), (35, 288), (35, 288),
    (17, 768), (17, 768), (17, 768), (17, 768), (17, 768), (8, 1280), (8, 2048), (8, 2048),
  ]  # fmt: skip


@pytest.mark.slow
def test_width_scales_all_channels():
  assert shapes(299, width=8) == [(side, channels // 4) for side, channels in shapes(299)]


def test_cifar_stem_keeps_the_size():
  sides = [side for side, _ in shapes(32, stem='cifar')]
  assert sides == [30, 28, 28, 28, *[26] * 4, *[12] * 5, *[5] * 3]
  assert shapes(13, stem='cifar')[-1] == (1, 2048)


def test_published_epsilon():
  norms = [part for _, part in nnx.iter_graph(make()) if isinstance(part, BatchNorm)]
  assert len(norms) == 94
  assert {norm.epsilon for norm in norms} == {1e-3}


def mixed(branches, origin='keras', dtype=jnp.float32):
  return Mixed(1, branches, origin=origin, width=32, dtype=dtype, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(('origin', 'corner', 'edge'), [('keras', 1, 1), ('torch', 4 / 9, 6 / 9)])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_origin_determines_padding_in_averages(origin, corner, edge, dtype):
  block = mixed({'branch_pool': ((1, 1),)}, origin, dtype)
  block.branch_pool.conv.kernel[...] = jnp.full((1, 1, 1, 1), np.sqrt(1 + 1e-3))
  y = block(jnp.ones((1, 3, 3, 1), dtype))
  expected = [[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]]
  assert y.dtype == dtype
  np.testing.assert_allclose(y[0, :, :, 0].astype(jnp.float32), expected, rtol=1e-2)


def test_block_with_max_pooling_halves_the_size():
  block = mixed({'branch3x3': ((1, 1), (1, 3)), 'branch_pool': ()})
  for name in ('branch3x3_1', 'branch3x3_2'):  # both are set to the identity
    conv = getattr(block, name).conv
    middle = conv.kernel.shape[0] // 2
    kernel = jnp.zeros_like(conv.kernel[...]).at[middle, middle].set(np.sqrt(1 + 1e-3))
    conv.kernel[...] = kernel
  y = block(jnp.arange(36.0).reshape(1, 6, 6, 1))
  np.testing.assert_allclose(y[0, :, :, 0], [[7, 9], [19, 21]], rtol=1e-6)
  np.testing.assert_array_equal(y[0, :, :, 1], [[14, 16], [26, 28]])


def test_two_kernels_of_a_step_are_concatenated():
  block = mixed({'branch3x3': ((2, 1), (3, (1, 3), (3, 1))), 'branch_pool': ((1, 1),)})
  assert block.branch3x3_1.conv.kernel.shape == (1, 1, 1, 2)
  assert block.branch3x3_2a.conv.kernel.shape == (1, 3, 2, 3)
  assert block.branch3x3_2b.conv.kernel.shape == (3, 1, 2, 3)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 5, 1)), jnp.float32)
  y, inner = block(x), block.branch3x3_1(x)
  assert y.shape == (1, 4, 5, 7)
  np.testing.assert_array_equal(y[..., :3], block.branch3x3_2a(inner))
  np.testing.assert_array_equal(y[..., 3:6], block.branch3x3_2b(inner))
