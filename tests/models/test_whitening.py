from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models import fit_to_images
from mecl_jax.models.macs import count_parameters
from mecl_jax.models.whitening import EPSILON, Whitening, whitening_kernel
from tests.models.networks import build

pytestmark = pytest.mark.stacks
RNG = np.random.default_rng(0)
# Neighbouring pixels and channels are correlated, as in photographs.
SMOOTH = np.cumsum(np.cumsum(RNG.normal(size=(40, 9, 9, 3)), axis=1), axis=2) @ RNG.normal(
  size=(3, 3)
)
IMAGES = np.clip(128 + 12 * SMOOTH, 0, 255).astype(np.uint8)


def outputs(images):
  layer = Whitening(3, dtype=jnp.float32)
  layer.kernel[...] = jnp.asarray(whitening_kernel([images[:7], images[7:]], 2), jnp.float32)
  return np.asarray(layer(jnp.asarray(images, jnp.float32)), np.float64)


def test_outputs_are_uncorrelated_with_variance_one():
  rows = outputs(100 * SMOOTH)[..., :12].reshape(-1, 12)  # far above EPSILON in all directions
  np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(12), atol=1e-4)


def test_other_half_of_the_filters_is_the_negative():
  found = outputs(SMOOTH)
  assert found.shape == (40, 8, 8, 24)
  np.testing.assert_array_equal(found[..., 12:], -found[..., :12])


def test_directions_without_signal_are_not_amplified():
  gray = np.repeat(SMOOTH[..., :1], 3, axis=-1)
  assert np.abs(whitening_kernel([gray], 2)).max() <= EPSILON**-0.5


def test_network_is_fitted_to_its_normalised_images():
  model = build(backbone='speedrun', image_shape=(9, 9, 3))
  fit_to_images(model, IMAGES)
  kernel = model.backbone.stages['stem'].whitening.kernel
  expected = whitening_kernel([np.asarray(model.preprocess(IMAGES))], 2)
  np.testing.assert_array_equal(kernel[...], expected.astype(np.float32))
  fit_to_images(model, IMAGES[::-1])  # the images, and not their order or number, decide
  np.testing.assert_allclose(np.abs(kernel[...]), np.abs(expected), rtol=1e-3, atol=1e-4)


def test_other_networks_do_not_change():
  model = build()
  before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model)))
  fit_to_images(model, IMAGES)
  jax.tree.map(np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(model)))


def test_only_the_bias_is_a_parameter():
  assert count_parameters(Whitening(3, dtype=jnp.float32)) == 24


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_filters_are_float32_and_the_output_has_the_compute_dtype(dtype):
  layer = Whitening(1, dtype=dtype)
  assert layer.kernel.dtype == layer.bias.dtype == jnp.float32
  assert layer(jnp.zeros((2, 4, 4, 1))).dtype == dtype
