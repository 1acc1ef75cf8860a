from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models.registry import HEADS


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('side', [1, 2, 5])
def test_every_head_takes_every_size(name, side):
  head = HEADS[name]((side, side, 3), 7, width=4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
  logits = head(jnp.ones((2, side, side, 3), jnp.bfloat16))
  assert logits.shape == (2, 7)
  assert logits.dtype == jnp.float32


def test_the_linear_head_is_a_mean_and_a_product():
  head = HEADS['linear']((2, 2, 3), 4, width=9, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
  expected = x.mean((1, 2)) @ head.linear.kernel[...] + head.linear.bias[...]
  np.testing.assert_allclose(head(jnp.asarray(x)), expected, rtol=1e-5)


def test_the_conv_head_has_the_width_asked_for():
  head = HEADS['conv']((4, 4, 3), 4, width=9, dtype=jnp.float32, rngs=nnx.Rngs(0))
  assert head.conv.kernel.shape == (3, 3, 3, 9)
  assert head.linear.kernel.shape == (9, 4)
