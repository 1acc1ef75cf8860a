from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.densenet import (
  Block,
  DenseNet,
  ImageNetStem,
  Transition,
  cifar_blocks,
)
from mecl_jax.models.macs import stage_costs

X = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)


def make(stem='cifar', blocks=(2, 1, 1)):
  return DenseNet(3, blocks=blocks, stem=stem, width=2, dtype=jnp.float32, rngs=nnx.Rngs(0))


def shapes(net, side):
  costs = stage_costs(net, (side, side, 3))
  return [(cost.name, cost.shape[0], cost.shape[-1]) for cost in costs]


def test_shapes_of_all_stages():
  assert shapes(make(), 8) == [
    ('stem', 8, 4), ('stage1_block1', 8, 6), ('stage1_block2', 8, 8), ('transition1', 4, 4),
    ('stage2_block1', 4, 6), ('transition2', 2, 3), ('stage3_block1', 2, 5), ('norm', 2, 5),
  ]  # fmt: skip


@pytest.mark.parametrize(('depth', 'blocks'), [(40, 6), (100, 16)])
def test_depth_is_the_number_of_layers(depth, blocks):
  assert cifar_blocks(depth) == (blocks,) * 3
  assert 2 * 3 * blocks + 4 == depth  # 4: stem, two transitions and the classifier


def test_imagenet_stem_divides_size_by_four():
  assert shapes(make('imagenet'), 33)[0] == ('stem', 9, 4)


def test_imagenet_stem_pads_all_sides_equally():
  stem = ImageNetStem(1, 1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  stem.conv.conv.kernel[...] = jnp.zeros((7, 7, 1, 1)).at[3, 3].set(np.sqrt(1 + 1.001e-5))
  x = jnp.arange(64.0).reshape(1, 8, 8, 1)
  # The convolution selects pixels 0, 2, 4, 6; pooling is around every second of them.
  np.testing.assert_allclose(stem(x)[0, :, :, 0], [[18, 22], [50, 54]], rtol=1e-6)


def test_appends_new_channels():
  y = Block(3, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.asarray(X))
  assert y.shape == (2, 4, 4, 5)
  np.testing.assert_array_equal(y[..., :3], X)


def test_transition_pools_after_its_convolution():
  stage = Transition(3, 1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  activation = np.maximum(X / np.sqrt(1 + 1.001e-5), 0)
  y = activation @ np.asarray(stage.conv.kernel[0, 0])
  expected = y.reshape(2, 2, 2, 2, 2, 1).mean((2, 4))
  np.testing.assert_allclose(stage(jnp.asarray(X)), expected, rtol=1e-4, atol=1e-5)
