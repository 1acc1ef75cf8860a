import functools

from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.backbones.inverted import InvertedBlock
from mecl_jax.models.backbones.mobilenet import MobileNetV1, MobileNetV2, SeparableBlock
from mecl_jax.models.layers import BatchNorm
from mecl_jax.models.macs import stage_costs

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 4)), jnp.float32)


@functools.cache
def make(kind, **settings):
  return nnx.eval_shape(lambda: kind(3, width=1, dtype=jnp.float32, rngs=nnx.Rngs(0), **settings))


def sides(kind, stem):
  """Returns the height after the stem and every group, for 32x32 images."""
  costs = stage_costs(make(kind, stem=stem), (32, 32, 3))
  return list({cost.name.partition('_')[0]: cost.shape[0] for cost in costs}.values())


@pytest.mark.parametrize(
  ('kind', 'stem', 'expected'),
  [
    (MobileNetV1, 'imagenet', [16, 16, 8, 4, 2, 1]),
    (MobileNetV1, 'cifar', [32, 32, 32, 16, 8, 4]),
    (MobileNetV2, 'imagenet', [16, 16, 8, 4, 2, 2, 1, 1, 1]),
    (MobileNetV2, 'cifar', [32, 32, 32, 16, 8, 8, 4, 4, 4]),
  ],
)
def test_strides(kind, stem, expected):
  assert sides(kind, stem) == expected


@pytest.mark.parametrize(('kind', 'blocks'), [(MobileNetV1, 13), (MobileNetV2, 17)])
def test_number_of_blocks(kind, blocks):
  net = make(kind, stem='cifar')
  assert sum('block' in name for name in net.stage_names) == blocks


def inverted(channels, stride):
  return InvertedBlock(4, channels, 6, stride=stride, dtype=jnp.float32, rngs=nnx.Rngs(0))


def test_inverted_block_adds_input_of_equal_shape():
  block = inverted(4, 1)
  block.project.kernel[...] *= 0
  np.testing.assert_array_equal(block(X), X)
  assert inverted(4, 2)(X).shape == (2, 3, 3, 4)
  assert not inverted(5, 1).adds


def test_bottleneck_is_linear():
  assert inverted(5, 1)(X).min() < 0


def test_separable_block_kernels_and_activation():
  block = SeparableBlock(4, 8, stride=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  y = block(100 * X)
  assert block.depthwise.conv.kernel.shape == (3, 3, 1, 4)
  assert block.pointwise.conv.kernel.shape == (1, 1, 4, 8)
  assert y.shape == (2, 3, 3, 8)
  assert y.min() == 0
  assert y.max() == 6


SEPARABLE = functools.partial(SeparableBlock, 1, 1)
INVERTED, INVERTED_5X5 = (functools.partial(InvertedBlock, 1, 1, 1, size) for size in (3, 5))


# Before strided depthwise convolutions, Keras pads the right and the bottom only: always in
# MobileNet, and at even sizes in MobileNetV2. PyTorch pads all sides equally.
@pytest.mark.parametrize(
  ('block', 'origin', 'side', 'taken'),
  [
    (SEPARABLE, 'keras', 4, (1, 3)),
    (SEPARABLE, 'keras', 5, (1, 3)),
    (SEPARABLE, 'torch', 5, (0, 2, 4)),
    (INVERTED, 'keras', 4, (1, 3)),
    (INVERTED, 'keras', 5, (0, 2, 4)),
    (INVERTED, 'torch', 4, (0, 2)),
    (INVERTED_5X5, 'keras', 4, (1, 3)),
    (INVERTED_5X5, 'torch', 4, (0, 2)),
  ],
)
def test_origin_determines_padding(block, origin, side, taken):
  conv = block(stride=2, origin=origin, dtype=jnp.float32, rngs=nnx.Rngs(0)).depthwise.conv
  middle = conv.kernel.shape[0] // 2
  conv.kernel[...] = jnp.zeros_like(conv.kernel[...]).at[middle, middle].set(1.0)
  x = np.arange(side * side, dtype=np.float32).reshape(1, side, side, 1)
  expected = x[0, :, :, 0][np.ix_(taken, taken)]
  np.testing.assert_array_equal(conv(jnp.asarray(x))[0, :, :, 0], expected)


@pytest.mark.parametrize(('origin', 'epsilon'), [('keras', 1e-3), ('torch', 1e-5)])
@pytest.mark.parametrize('kind', [MobileNetV1, MobileNetV2])
def test_origin_determines_epsilon(kind, origin, epsilon):
  parts = [part for _, part in nnx.iter_graph(make(kind, origin=origin))]
  assert {part.epsilon for part in parts if isinstance(part, BatchNorm)} == {epsilon}
