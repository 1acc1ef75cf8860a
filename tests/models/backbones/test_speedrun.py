from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.speedrun import Block, Speedrun
from mecl_jax.models.macs import stage_costs


def make(width=4):
  return Speedrun(3, width=width, dtype=jnp.float32, rngs=nnx.Rngs(0))


def test_shapes_parameters_and_macs_of_the_published_network():
  """The MACs are output pixels * kernel * channels, by hand."""
  costs = stage_costs(make(64), (32, 32, 3))
  assert [(cost.name, cost.shape) for cost in costs] == [
    ('stem', (31, 31, 24)), ('stage1', (15, 15, 64)), ('stage2', (7, 7, 256)),
    ('stage3', (3, 3, 256)),
  ]  # fmt: skip
  assert [cost.macs for cost in costs] == [
    31**2 * 12 * 24,
    31**2 * 9 * 24 * 64 + 15**2 * 9 * 64 * 64,
    15**2 * 9 * 64 * 256 + 7**2 * 9 * 256 * 256,
    7**2 * 9 * 256 * 256 + 3**2 * 9 * 256 * 256,
  ]
  kernels = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
  biases = 24 + 2 * (64 + 256 + 256)
  assert sum(cost.parameters for cost in costs) == kernels + biases


@pytest.mark.parametrize(('side', 'sides'), [(9, [8, 4, 2, 1]), (12, [11, 5, 2, 1])])
def test_sides_are_halved_and_rounded_down(side, sides):
  assert [cost.shape[0] for cost in stage_costs(make(), (side, side, 3))] == sides


def test_new_block_passes_its_input_on():
  block = Block(3, 5, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)), jnp.float32)
  pooled = x.reshape(2, 3, 2, 3, 2, 3).max((2, 4))
  block.eval()  # the initial moving averages change nothing
  np.testing.assert_allclose(block(x)[..., :3], jax.nn.gelu(jax.nn.gelu(pooled)), rtol=1e-4)


def test_batch_norm_has_no_scale_and_fast_averages():
  block = Block(3, 5, dtype=jnp.float32, rngs=nnx.Rngs(0))
  assert block.norm1.scale is None and block.norm2.momentum == 0.6
