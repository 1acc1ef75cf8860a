import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.convolution import conv_general_dilated

SETTINGS = {'padding': [(1, 1), (1, 1)], 'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}


@pytest.mark.parametrize(('batch', 'stride'), [(64, 1), (64, 2), (66, 1)])
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


def test_kernel_gradient_on_cpu_is_computed_in_parts():
  x, kernel = jnp.ones((64, 6, 6, 2)), jnp.ones((3, 3, 2, 3))

  def convolutions(conv):
    def gradient(x, kernel):
      return jax.grad(lambda kernel: jnp.square(conv(x, kernel, (1, 1), **SETTINGS)).sum())(kernel)

    program = jax.jit(gradient).lower(x, kernel).compile().as_text()
    return program.count(' convolution(')

  assert convolutions(lax.conv_general_dilated) == 2  # one is the forward pass
  assert convolutions(conv_general_dilated) == 1 + 4
