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


def test_blocks_add_channels_and_transitions_halve_everything():
  assert shapes(make(), 8) == [
    ('stem', 8, 4), ('stage1_block1', 8, 6), ('stage1_block2', 8, 8), ('transition1', 4, 4),
    ('stage2_block1', 4, 6), ('transition2', 2, 3), ('stage3_block1', 2, 5), ('norm', 2, 5),
  ]  # fmt: skip


@pytest.mark.parametrize(('depth', 'blocks'), [(40, 6), (100, 16)])
def test_depth_counts_the_layers(depth, blocks):
  assert cifar_blocks(depth) == (blocks,) * 3
  assert 2 * 3 * blocks + 4 == depth  # stem, two transitions and the classifier


def test_the_stem_for_imagenet_quarters_the_size():
  assert shapes(make('imagenet'), 33)[0] == ('stem', 9, 4)


def test_the_stem_for_imagenet_pads_alike_on_all_sides():
  stem = ImageNetStem(1, 1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  stem.conv.conv.kernel[...] = jnp.zeros((7, 7, 1, 1)).at[3, 3].set(np.sqrt(1 + 1.001e-5))
  x = jnp.arange(64.0).reshape(1, 8, 8, 1)
  # The convolution takes pixels 0, 2, 4, 6, the pooling those around every second of them.
  np.testing.assert_allclose(stem(x)[0, :, :, 0], [[18, 22], [50, 54]], rtol=1e-6)


def test_new_channels_come_after_the_old_ones():
  y = Block(3, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))(jnp.asarray(X))
  assert y.shape == (2, 4, 4, 5)
  np.testing.assert_array_equal(y[..., :3], X)


def test_a_transition_averages_after_its_convolution():
  stage = Transition(3, 1, dtype=jnp.float32, rngs=nnx.Rngs(0))
  activation = np.maximum(X / np.sqrt(1 + 1.001e-5), 0)
  y = activation @ np.asarray(stage.conv.kernel[0, 0])
  expected = y.reshape(2, 2, 2, 2, 2, 1).mean((2, 4))
  np.testing.assert_allclose(stage(jnp.asarray(X)), expected, rtol=1e-4, atol=1e-5)
