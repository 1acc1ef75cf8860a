import functools

from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.imagenet_resnet import (
  BOTTLENECKS,
  BasicBlock,
  BottleneckBlock,
  ImageNetResNet,
)
from mecl_jax.models.layers import BatchNorm
from mecl_jax.models.macs import stage_costs
from tests.models.networks import slow_except

X = np.random.default_rng(0).normal(size=(1, 5, 5, 8)).astype(np.float32)


@functools.cache
def make(depth=50, **settings):
  return nnx.eval_shape(
    lambda: ImageNetResNet(3, depth=depth, width=2, dtype=jnp.float32, rngs=nnx.Rngs(0), **settings)
  )


@pytest.mark.parametrize(
  ('depth', 'last'), slow_except((18, 50), [(18, 2), (34, 6), (50, 6), (101, 23)])
)
def test_depth_excludes_shortcuts(depth, last):
  net = make(depth)
  kernels = [path for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param)) if 'kernel' in path]
  assert sum('shortcut' not in path for path in kernels) == depth - 1
  assert sum('shortcut' in path for path in kernels) == (4 if depth in BOTTLENECKS else 3)
  assert f'stage3_block{last}' in net.stage_names
  assert f'stage3_block{last + 1}' not in net.stage_names


@pytest.mark.parametrize(
  ('origin', 'stem', 'side', 'sides'),
  [
    ('keras', 'imagenet', 75, [19, 19, 10, 5, 3]),
    ('torch', 'cifar', 33, [33, 33, 17, 9, 5]),
  ],
)
def test_shapes_of_all_groups(origin, stem, side, sides):
  costs = stage_costs(make(stem=stem, origin=origin), (side, side, 3))
  groups = {cost.name.partition('_')[0]: (cost.shape[0], cost.shape[-1]) for cost in costs}
  assert list(groups.values()) == list(zip(sides, [2, 8, 16, 32, 64], strict=True))


@pytest.mark.parametrize('stem', ['imagenet', 'cifar'])
@pytest.mark.parametrize(('origin', 'epsilon'), [('keras', 1.001e-5), ('torch', 1e-5)])
def test_origin_determines_epsilon(stem, origin, epsilon):
  parts = [part for _, part in nnx.iter_graph(make(stem=stem, origin=origin))]
  assert {part.epsilon for part in parts if isinstance(part, BatchNorm)} == {epsilon}


def block(in_channels, channels, *, stride, origin='keras'):
  return BottleneckBlock(
    in_channels, channels, stride=stride, origin=origin, dtype=jnp.float32, rngs=nnx.Rngs(0)
  )


@pytest.mark.parametrize(('origin', 'sees'), [('keras', False), ('torch', True)])
def test_origin_determines_the_strided_convolution(origin, sees):
  layer = block(8, 8, stride=2, origin=origin)
  changed = X.copy()
  changed[:, 1::2, 1::2] += 1
  before, after = layer(jnp.asarray(X)), layer(jnp.asarray(changed))
  assert before.shape == (1, 3, 3, 8)
  assert np.array_equal(before, after) != sees


def basic(in_channels, channels, *, stride):
  return BasicBlock(in_channels, channels, stride=stride, dtype=jnp.float32, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(('make_block', 'last'), [(block, 'conv3'), (basic, 'conv2')])
def test_identity_shortcut_if_shape_is_equal(make_block, last):
  layer = make_block(8, 8, stride=1)
  getattr(layer, last).kernel[...] *= 0
  np.testing.assert_array_equal(layer(jnp.asarray(X)), np.maximum(X, 0))


@pytest.mark.parametrize(
  ('make_block', 'last', 'epsilon'), [(block, 3, 1.001e-5), (basic, 2, 1e-5)]
)
def test_projection_shortcut_has_no_activation(make_block, last, epsilon):
  layer = make_block(8, 4, stride=2)
  getattr(layer, f'conv{last}').kernel[...] *= 0
  # Large enough that the last ReLU does not change negative values of the shortcut.
  getattr(layer, f'norm{last}').bias[...] = jnp.full(4, 9.0)
  kernel = np.asarray(layer.shortcut.conv.kernel[0, 0])
  expected = np.maximum(X[:, ::2, ::2] @ kernel / np.sqrt(1 + epsilon) + 9, 0)
  np.testing.assert_allclose(layer(jnp.asarray(X)), expected, rtol=1e-5)
