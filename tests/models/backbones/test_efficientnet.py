import functools

from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.efficientnet import EfficientNet, lite_groups
from mecl_jax.models.backbones.inverted import InvertedBlock, SqueezeExcite
from mecl_jax.models.layers import BatchNorm
from mecl_jax.models.macs import stage_costs

X = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)


@functools.cache
def make(width=32, **settings):
  return nnx.eval_shape(
    lambda: EfficientNet(3, width=width, dtype=jnp.float32, rngs=nnx.Rngs(0), **settings)
  )


@functools.cache
def groups(**settings):
  """Returns (height, channels) after the stem, every group and `top`, for 32x32 images."""
  costs = stage_costs(make(**settings), (32, 32, 3))
  ends = {cost.name.partition('_')[0]: cost.shape for cost in costs}
  return [(shape[0], shape[-1]) for shape in ends.values()]


@pytest.mark.parametrize(
  ('stem', 'expected'),
  [
    ('imagenet', [16, 16, 8, 4, 2, 2, 1, 1, 1]),
    ('cifar', [32, 32, 16, 8, 4, 4, 2, 2, 2]),
  ],
)
def test_strides(stem, expected):
  assert [side for side, _ in groups(stem=stem)] == expected


def test_width_scales_all_channels():
  published = [32, 16, 24, 40, 80, 112, 192, 320, 1280]
  assert [channels for _, channels in groups(stem='imagenet')] == published
  assert [2 * channels for _, channels in groups(width=16)] == published


def test_published_kernel_shapes():
  stages = make().stages
  assert not hasattr(stages['stage1_block1'], 'expand')
  assert stages['stage3_block1'].expand.conv.kernel.shape == (1, 1, 24, 144)
  assert stages['stage3_block1'].depthwise.conv.kernel.shape == (5, 5, 1, 144)
  assert stages['stage3_block2'].depthwise.conv.kernel.shape == (5, 5, 1, 240)
  assert stages['stage4_block1'].depthwise.conv.kernel.shape == (3, 3, 1, 240)
  # A quarter of the input channels of the block, not of the expanded channels.
  assert stages['stage3_block1'].squeeze.reduce.kernel.shape == (144, 6)


@pytest.mark.parametrize(('origin', 'epsilon'), [('keras', 1e-3), ('torch', 1e-5)])
def test_origin_determines_epsilon(origin, epsilon):
  parts = [part for _, part in nnx.iter_graph(make(origin=origin))]
  assert {part.epsilon for part in parts if isinstance(part, BatchNorm)} == {epsilon}


def test_activation_is_swish():
  assert {stage.activation for stage in (make().stages['stem'], make().stages['top'])} == {
    nnx.swish
  }


@pytest.mark.parametrize(
  ('version', 'channels', 'blocks'),
  [
    (0, [16, 24, 40, 80, 112, 192, 320], [1, 2, 2, 3, 3, 4, 1]),
    (1, [16, 24, 40, 80, 112, 192, 320], [1, 3, 3, 4, 4, 5, 1]),
    (2, [16, 24, 48, 88, 120, 208, 352], [1, 3, 3, 4, 4, 5, 1]),
  ],
)
def test_published_groups_of_lite(version, channels, blocks):
  groups = lite_groups(version)
  assert [group[2] for group in groups] == channels
  assert [group[3] for group in groups] == blocks


def test_lite_has_relu6_and_no_squeeze():
  network = make(lite=0)
  assert network.stages['stem'].activation is network.stages['top'].activation is nnx.relu6
  parts = [part for _, part in nnx.iter_graph(network)]
  assert not any(isinstance(part, SqueezeExcite) for part in parts)


def test_squeeze_equals_its_definition():
  layer = SqueezeExcite(3, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  layer.reduce.bias[...] = jnp.array([0.5, -1.0])
  layer.expand.bias[...] = jnp.array([1.0, 0.0, -2.0])
  inner = X.mean((1, 2)) @ np.asarray(layer.reduce.kernel) + [0.5, -1]
  outer = inner / (1 + np.exp(-inner)) @ np.asarray(layer.expand.kernel) + [1, 0, -2]
  expected = X / (1 + np.exp(-outer))[:, None, None]
  np.testing.assert_allclose(layer(jnp.asarray(X)), expected, rtol=1e-5, atol=1e-6)


def test_squeeze_keeps_the_dtype():
  block = InvertedBlock(
    3, 3, 2, stride=1, squeezed=1, activation=nnx.swish, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)
  )
  assert nnx.eval_shape(lambda x: block(x), jnp.asarray(X, jnp.bfloat16)).dtype == jnp.bfloat16
