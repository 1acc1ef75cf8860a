from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.vgg import VGG, PooledConv
from mecl_jax.models.macs import stage_costs


@pytest.mark.parametrize('depth', [11, 13, 16, 19])
def test_depth_includes_three_dense_layers(depth):
  net = VGG(3, depth=depth, width=1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  assert len(net.stage_names) == depth - 3
  assert net.stage_names[0] == 'stage1_block1'
  assert net.stage_names[-1].startswith('stage5_block')


def test_groups_begin_with_pooling():
  net = VGG(3, depth=11, width=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  costs = stage_costs(net, (16, 16, 3))
  shapes = [(cost.shape[0], cost.shape[-1]) for cost in costs]
  assert shapes == [(16, 2), (8, 4), (4, 8), (4, 8), (2, 16), (2, 16), (1, 16), (1, 16)]


def test_pools_before_the_convolution():
  stage = PooledConv(2, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype(np.float32)
  pooled = x.reshape(2, 2, 2, 2, 2, 2).max((2, 4))
  np.testing.assert_array_equal(stage(jnp.asarray(x)), stage.block(jnp.asarray(pooled)))
