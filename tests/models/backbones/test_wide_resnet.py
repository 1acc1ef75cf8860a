from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.wide_resnet import Block, WideResNet

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)), jnp.float32)


def test_last_stage_is_the_norm():
  net = WideResNet(3, depth=16, factor=2, width=1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  assert net.stage_names == (
    'stem', 'stage1_block1', 'stage1_block2', 'stage2_block1', 'stage2_block2', 'stage3_block1',
    'stage3_block2', 'norm',
  )  # fmt: skip
  kernels = [path for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param)) if 'kernel' in path]
  assert len(kernels) == 16  # the depth


def test_identity_shortcut_has_no_activation():
  block = Block(3, 3, stride=1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  block.conv2.kernel[...] *= 0
  np.testing.assert_array_equal(block(X), X)


@pytest.mark.parametrize('stride', [1, 2])
def test_projection_shortcut_uses_the_first_activation(stride):
  block = Block(3, 4, stride=stride, dtype=jnp.float32, rngs=nnx.Rngs(0))
  block.conv2.kernel[...] *= 0
  activation = np.maximum(X / np.sqrt(1 + 1e-5), 0)[:, ::stride, ::stride]
  expected = activation @ np.asarray(block.shortcut.kernel[0, 0])
  np.testing.assert_allclose(block(X), expected, rtol=1e-4, atol=1e-5)
