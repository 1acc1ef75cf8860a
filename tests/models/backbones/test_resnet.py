from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.resnet import Block, ResNet
from mecl_jax.models.macs import stage_costs


def make(depth, width=4):
  return ResNet(3, depth=depth, width=width, dtype=jnp.float32, rngs=nnx.Rngs(0))


def test_stage_names():
  assert make(14).stage_names == (
    'stem', 'stage1_block1', 'stage1_block2', 'stage2_block1', 'stage2_block2', 'stage3_block1',
    'stage3_block2',
  )  # fmt: skip


def test_stage_order_survives_split_and_merge():
  net = ResNet(3, depth=68, width=1, dtype=jnp.float32, rngs=nnx.Rngs(0))  # 11 blocks per group
  merged = nnx.merge(*nnx.split(net))
  assert merged.stage_names == net.stage_names
  assert net.stage_names[1:12] == tuple(f'stage1_block{i}' for i in range(1, 12))


@pytest.mark.parametrize('depth', [8, 20])
def test_depth_is_the_number_of_layers(depth):
  kernels = [
    path for path, _ in nnx.to_flat_state(nnx.state(make(depth), nnx.Param)) if 'kernel' in path
  ]
  assert len(kernels) == depth - 1  # the last layer is the classifier


@pytest.mark.parametrize(('side', 'sides'), [(8, [8, 8, 4, 2]), (9, [9, 9, 5, 3])])
def test_shapes_of_all_stages(side, sides):
  shapes = [cost.shape for cost in stage_costs(make(8), (side, side, 3))]
  assert shapes == [(s, s, c) for s, c in zip(sides, [4, 4, 8, 16], strict=True)]


def test_shortcut_subsamples_and_pads_with_zeros():
  block = Block(2, 4, stride=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  block.conv2.kernel[...] *= 0  # the output is that of the shortcut
  block.eval()
  x = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype(np.float32)
  y = np.asarray(block(jnp.asarray(x)))
  np.testing.assert_array_equal(y[..., :2], np.maximum(x[:, ::2, ::2], 0))
  np.testing.assert_array_equal(y[..., 2:], 0)
