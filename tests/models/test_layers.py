from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from mecl_jax.models.layers import (
  BatchNorm,
  ConvNorm,
  conv,
  global_average,
  halve,
  linear,
  normal,
)
from tests.precision import float64

pytestmark = pytest.mark.stacks

X = np.random.default_rng(0).normal(3, 2, (6, 4, 5, 3)).astype(np.float32)


def make_norm(dtype=jnp.float32):
  norm = BatchNorm(3, dtype=dtype)
  norm.scale[...] = jnp.array([1.0, 2.0, 0.5], norm.scale.dtype)
  norm.bias[...] = jnp.array([0.0, -1.0, 3.0], norm.bias.dtype)
  return norm


def test_batch_norm_in_training():
  norm = make_norm()
  norm.train()
  y = norm(jnp.asarray(X))
  mean, var = X.mean((0, 1, 2)), X.var((0, 1, 2))
  expected = (X - mean) / np.sqrt(var + 1e-5) * [1, 2, 0.5] + [0, -1, 3]
  np.testing.assert_allclose(y, expected, atol=1e-5)
  np.testing.assert_allclose(norm.mean[...], 0.1 * mean, rtol=1e-5)
  np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * var, rtol=1e-5)


def test_batch_norm_epsilon_and_momentum():
  norm = BatchNorm(3, epsilon=0.5, momentum=0.75, dtype=jnp.float32)
  norm.train()
  y = norm(jnp.asarray(X))
  mean, var = X.mean((0, 1, 2)), X.var((0, 1, 2))
  np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 0.5), atol=1e-5)
  np.testing.assert_allclose(norm.mean[...], 0.25 * mean, rtol=1e-5)


def test_batch_norm_in_evaluation():
  norm = make_norm()
  norm.mean[...] = jnp.array([1.0, 2.0, 3.0])
  norm.var[...] = jnp.array([4.0, 1.0, 9.0])
  norm.eval()
  y = norm(jnp.asarray(X))
  expected = (X - [1, 2, 3]) / np.sqrt(np.array([4, 1, 9]) + 1e-5) * [1, 2, 0.5] + [0, -1, 3]
  np.testing.assert_allclose(y, expected, atol=1e-5)
  np.testing.assert_array_equal(norm.mean[...], [1, 2, 3])
  np.testing.assert_array_equal(norm.var[...], [4, 1, 9])


def test_batch_norm_gradient_equals_finite_differences():
  norm = make_norm()
  norm.train()
  graphdef, state = nnx.split(norm)
  state = nnx.to_pure_dict(state)
  weights = np.random.default_rng(1).normal(size=X.shape)

  def loss(x, scale):
    return (nnx.merge(graphdef, {**state, 'scale': scale})(x) * weights).sum()

  with float64():
    state = jax.tree.map(lambda a: a.astype(jnp.float64), state)
    arguments = jnp.asarray(X, jnp.float64), state['scale']
    check_grads(jax.jit(loss), arguments, order=1, modes=('rev',), rtol=1e-4)


@pytest.mark.parametrize('train', [True, False])
def test_batch_norm_statistics_stay_float32(train):
  norm = make_norm(jnp.bfloat16)
  norm.set_attributes(use_running_average=not train)
  norm.mean[...] = jnp.full(3, 1.001, jnp.float32)  # 1.0 in bfloat16
  x = jnp.asarray(X, jnp.bfloat16)
  y = norm(x)
  assert y.dtype == jnp.bfloat16
  assert norm.mean.dtype == norm.var.dtype == norm.scale.dtype == jnp.float32
  if not train:
    expected = (np.asarray(x, np.float32) - 1.001) * [1, 2, 0.5] + [0, -1, 3]
    np.testing.assert_allclose(np.asarray(y, np.float32), expected, rtol=2**-7, atol=1e-2)


def test_stride_of_two_pads_all_sides_equally():
  layer = conv(1, 1, 3, stride=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  layer.kernel[...] = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  np.testing.assert_array_equal(layer(x)[0, :, :, 0], [[0, 2], [8, 10]])


def test_kernels_are_he_initialised():
  layer = conv(64, 64, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
  assert layer.bias is None
  assert np.std(layer.kernel[...]) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)


def test_fan_in_of_depthwise_kernels():
  kernel = conv(512, 512, 3, groups=512, dtype=jnp.float32, rngs=nnx.Rngs(0)).kernel[...]
  assert kernel.shape == (3, 3, 1, 512)
  assert np.std(kernel) == pytest.approx(np.sqrt(2 / 9), rel=0.05)


def test_kernels_are_equal_under_jit():
  def make():
    return nnx.state(conv(2, 3, 3, dtype=jnp.float32, rngs=nnx.Rngs(7)))

  jax.tree.map(np.testing.assert_array_equal, make(), jax.jit(make)())


@pytest.mark.parametrize(
  ('padding', 'expected'), [(None, [[0, 2], [8, 10]]), ('SAME', [[5, 7], [13, 15]])]
)
def test_padding_determines_strided_pixels(padding, expected):
  layer = conv(1, 1, 3, stride=2, padding=padding, dtype=jnp.float32, rngs=nnx.Rngs(0))
  layer.kernel[...] = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  np.testing.assert_array_equal(layer(x)[0, :, :, 0], expected)


@pytest.mark.parametrize('groups', [2, 6])
def test_gradients_of_grouped_convolutions(groups):
  layer = conv(6, 6, 3, groups=groups, stride=2, dtype=jnp.float32, rngs=nnx.Rngs(0))
  graphdef, _ = nnx.split(layer)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 6, 6, 6)), jnp.float32)

  def plain(kernel, x):
    y = lax.conv_general_dilated(
      x, kernel, (2, 2), [(1, 1), (1, 1)], feature_group_count=groups,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )  # fmt: skip
    return jnp.square(y).sum()

  def ours(kernel, x):
    return jnp.square(nnx.merge(graphdef, nnx.State({'kernel': nnx.Param(kernel)}))(x)).sum()

  kernel = layer.kernel[...]
  expected, found = (jax.jit(jax.grad(f, argnums=(0, 1)))(kernel, x) for f in (plain, ours))
  for a, b in zip(expected, found, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_conv_norm_applies_its_activation():
  layer = ConvNorm(3, 4, 1, activation=nnx.relu6, epsilon=1e-3, dtype=jnp.float32, rngs=nnx.Rngs(0))
  layer.norm.bias[...] = jnp.array([-1e3, 0, 0, 1e3])
  y = layer(jnp.asarray(X))
  assert layer.norm.epsilon == 1e-3
  assert y.min() == 0
  assert y.max() == 6
  np.testing.assert_array_equal(y[..., 3], 6)


def test_linear_computes_in_float32():
  layer = linear(3, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
  assert layer(global_average(jnp.asarray(X, jnp.bfloat16))).dtype == jnp.float32


def test_batch_norm_without_scale():
  plain, without = make_norm(), BatchNorm(3, use_scale=False, dtype=jnp.float32)
  plain.scale[...] = jnp.ones(3)
  plain.bias[...] = jnp.zeros(3)
  plain.train(), without.train()
  np.testing.assert_array_equal(without(jnp.asarray(X)), plain(jnp.asarray(X)))
  assert [path for path, _ in nnx.to_flat_state(nnx.state(without, nnx.Param))] == [('bias',)]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_halve_is_max_pooling(dtype):
  x = jnp.asarray(X, dtype)  # [6, 4, 5, 3]: the last column is dropped
  np.testing.assert_array_equal(halve(x), nnx.max_pool(x, (2, 2), (2, 2)))


def test_gradient_of_halve_goes_to_the_largest_pixel():
  x = jnp.asarray(X)
  mine = jax.grad(lambda x: jnp.sin(halve(x)).sum())(x)
  theirs = jax.grad(lambda x: jnp.sin(nnx.max_pool(x, (2, 2), (2, 2))).sum())(x)
  np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.parametrize('outputs', [2, 3, 5])
def test_identity_filters_copy_one_channel_each(outputs):
  kernel = normal(1, identity=True)(jax.random.key(0), (3, 3, 3, outputs))
  copied = min(3, outputs)
  x = jnp.asarray(X)
  settings = {'window_strides': (1, 1), 'padding': 'SAME'}
  y = lax.conv_general_dilated(x, kernel, **settings, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  np.testing.assert_allclose(y[..., :copied], x[..., :copied], rtol=1e-6)
  assert outputs == copied or np.std(kernel[..., copied:]) > 0
