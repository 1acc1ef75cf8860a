from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.resnet import Block, ResNet


def make(depth, width=4):
  return ResNet(3, depth=depth, width=width, dtype=jnp.float32, rngs=nnx.Rngs(0))


def test_stages_are_named_down_to_the_block():
  assert make(14).stage_names == (
    'stem', 'stage1_block1', 'stage1_block2', 'stage2_block1', 'stage2_block2', 'stage3_block1',
    'stage3_block2',
  )  # fmt: skip


def test_their_order_survives_where_names_do_not_sort():
  net = ResNet(3, depth=68, width=1, dtype=jnp.float32, rngs=nnx.Rngs(0))  # 11 blocks a group
  merged = nnx.merge(*nnx.split(net))
  assert merged.stage_names == net.stage_names
  assert net.stage_names[1:12] == tuple(f'stage1_block{i}' for i in range(1, 12))


@pytest.mark.parametrize('depth', [8, 20])
def test_depth_counts_the_layers(depth):
  kernels = [
    path for path, _ in nnx.to_flat_state(nnx.state(make(depth), nnx.Param)) if 'kernel' in path
  ]
  assert len(kernels) == depth - 1  # the last is the classifier's


@pytest.mark.parametrize(('side', 'sides'), [(8, [8, 8, 4, 2]), (9, [9, 9, 5, 3])])
def test_groups_halve_the_size_and_double_the_channels(side, sides):
  net, x, shapes = make(8), jnp.zeros((2, side, side, 3)), []
  for name in net.stage_names:
    x = net.stages[name](x)
    shapes.append(x.shape)
  assert shapes == [(2, s, s, c) for s, c in zip(sides, [4, 4, 8, 16], strict=True)]


def test_the_shortcut_takes_every_second_pixel_and_fills_channels_with_zeros():
  block = Block(2, 4, stride=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  block.conv2.kernel[...] *= 0  # leaves the shortcut alone
  block.eval()
  x = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype(np.float32)
  y = np.asarray(block(jnp.asarray(x)))
  np.testing.assert_array_equal(y[..., :2], np.maximum(x[:, ::2, ::2], 0))
  np.testing.assert_array_equal(y[..., 2:], 0)
