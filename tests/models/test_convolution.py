from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.compiler import compiler_options
from mecl_jax.models.convolution import conv_general_dilated, depthwise

pytestmark = pytest.mark.stacks

SETTINGS = {'padding': [(1, 1), (1, 1)], 'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}


@pytest.mark.parametrize(('batch', 'stride'), [(64, 1), (64, 2), (1, 1)])
def test_equals_plain_convolution_and_its_gradients(batch, stride):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(batch, 6, 6, 2)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(3, 3, 2, 3)), jnp.float32)

  def loss(conv, x, kernel):
    return jnp.square(conv(x, kernel, (stride, stride), **SETTINGS)).sum()

  results = [
    jax.jit(jax.value_and_grad(lambda x, kernel, conv=conv: loss(conv, x, kernel), argnums=(0, 1)))
    for conv in (conv_general_dilated, lax.conv_general_dilated)
  ]
  ours, plain = (result(x, kernel) for result in results)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-2), ours, plain)


@pytest.mark.parametrize(
  ('padding', 'size', 'stride', 'side'),
  [
    ('SAME', 3, 1, 6),
    ('SAME', 3, 2, 7),
    ('SAME', 5, 2, 6),
    ('VALID', 3, 2, 6),
    ('VALID', 5, 2, 7),
    ('VALID', 1, 2, 7),
    ([(1, 1), (1, 1)], 5, 2, 6),
    ([(1, 1), (1, 1)], 1, 2, 6),
    ([(0, 2), (1, 0)], 3, 1, 7),
    ([(0, 2), (1, 0)], 3, 2, 6),
  ],
)
def test_depthwise_equals_grouped_convolution(padding, size, stride, side):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, side, side + 1, 5)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(size, size, 1, 5)), jnp.float32)
  settings = {'feature_group_count': 5, 'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}

  def loss(conv, x, kernel):
    y = conv(x, kernel, (stride, stride), padding, **settings)
    return (y * jnp.arange(y.size).reshape(y.shape) / y.size).sum(), y

  results = [
    jax.jit(jax.grad(lambda x, k, conv=conv: loss(conv, x, k), argnums=(0, 1), has_aux=True))
    for conv in (depthwise, lax.conv_general_dilated)
  ]
  ours, plain = (result(x, kernel) for result in results)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, plain)


def test_depthwise_sums_in_float32():
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 8, 8, 3)), jnp.bfloat16)
  kernel = jnp.asarray(rng.normal(size=(5, 5, 1, 3)), jnp.bfloat16)
  settings = {'feature_group_count': 3, 'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}
  wide = (x.astype(jnp.float32), kernel.astype(jnp.float32))
  expected = lax.conv_general_dilated(*wide, (1, 1), 'SAME', **settings)
  found = jax.jit(lambda x, k: depthwise(x, k, (1, 1), 'SAME', **settings))(x, kernel)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.asarray(found, np.float32), expected, rtol=0.01, atol=1e-3)


def test_kernel_gradient_on_cpu_reads_its_input_from_memory():
  x, kernel = jnp.ones((64, 6, 6, 2)), jnp.ones((3, 3, 2, 3))

  def relus(conv):
    """Returns how often the compiled gradient computes the ReLU before a convolution."""

    def gradient(x, kernel):
      input_ = nnx.relu(2 * x + 1)
      return jax.grad(lambda k: jnp.square(conv(input_, k, (1, 1), **SETTINGS)).sum())(kernel)

    compiled = jax.jit(gradient, compiler_options=compiler_options()).lower(x, kernel).compile()
    return compiled.as_text().count(' maximum(')

  assert relus(lax.conv_general_dilated) == 2  # for the forward pass, and within a transposition
  assert relus(conv_general_dilated) == 1
