import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.models import BACKBONES, stage_costs
from mecl_jax.models.backbones.vit import Attention, Block, Stem, TokenNorm, ViT, head_count
from mecl_jax.models.macs import count_parameters
from tests.models.networks import build

RNG = np.random.default_rng(0)


def settings(dtype=jnp.float32):
  return {'dtype': dtype, 'rngs': nnx.Rngs(0)}


def stem(patch=2, side=8, width=4):
  return Stem(3, width, patch=patch, side=side, **settings())


def image(height=8, width=8):
  return jnp.asarray(RNG.normal(size=(2, height, width, 3)), jnp.float32)


@functools.cache
def abstract(name):
  make = functools.partial(BACKBONES[name], 3, width=16, dtype=jnp.float32)
  return nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))


@functools.cache
def costs(name, side):
  return stage_costs(abstract(name), (side, side, 3))


# With a classifier for 1000 classes, as in timm; vit_b16 also as in torchvision.
@pytest.mark.parametrize(
  ('name', 'width', 'parameters'),
  [('vit_b16', 768, 86_567_656), ('vit_s16', 384, 22_050_664), ('vit_ti16', 192, 5_717_416)],
)
def test_published_parameter_counts(name, width, parameters):
  assert count_parameters(abstract(name)) + (width + 1) * 1000 == parameters


# patches, pixels and colours of one; tokens; depth; MLP ratio
@pytest.mark.parametrize(
  ('name', 'side', 'patches', 'inputs', 'depth', 'ratio', 'width'),
  [('vit_b16', 224, 196, 16 * 16 * 3, 12, 4, 768), ('vit9_cifar', 32, 64, 4 * 4 * 3, 9, 2, 192)],
)
def test_macs_equal_hand_counts(name, side, patches, inputs, depth, ratio, width):
  tokens = patches + 1
  dense = tokens * width * width * (3 + 1 + 2 * ratio)
  attention = 2 * tokens * tokens * width
  stages = costs(name, side)
  assert stages[0].macs == patches * inputs * width
  assert [cost.macs for cost in stages[1:-1]] == [dense + attention] * depth
  assert stages[-1].macs == 0


def test_published_macs():
  """Touvron et al. 2021 (DeiT, arXiv 2012.12877) report 17.6 G."""
  assert sum(cost.macs for cost in costs('vit_b16', 224)) + 768 * 1000 == 17_563_828_224


def test_parameters_of_vit9_equal_hand_counts():
  block = 4 * 192 + 4 * 192 * 193 + 2 * 192 * 384 + 384 + 192
  expected = 48 * 192 + 192 + 192 + 65 * 192 + 9 * block + 2 * 192
  assert sum(cost.parameters for cost in costs('vit9_cifar', 32)) == expected == 2_695_680


@pytest.mark.parametrize(
  ('width', 'size', 'heads'),
  [(768, 64, 12), (384, 64, 6), (432, 64, 6), (48, 64, 1), (97, 64, 1), (192, 16, 12), (12, 16, 1)],
)
def test_head_count_divides_the_width(width, size, heads):
  assert head_count(width, size) == heads


def test_patches_follow_the_token_row_by_row():
  module, x = stem(), image()
  tokens, patches = module(x)
  assert tokens.shape == (2, 17, 4)
  assert patches.shape == (2, 4, 4, 4)
  np.testing.assert_array_equal(tokens[:, 1:], patches.reshape(2, 16, 4))
  np.testing.assert_allclose(tokens[0, 0], module.token[0, 0] + module.positions[0])
  patch = x[:, 2:4, 6:8].reshape(2, -1) @ module.patches.kernel[...].reshape(-1, 4)
  np.testing.assert_allclose(patches[:, 1, 3], patch + module.positions[1 + 4 + 3], atol=1e-5)


def test_ignores_incomplete_patches():
  module, x = stem(), image(9, 9)
  np.testing.assert_allclose(module(x)[0], module(x[:, :8, :8])[0], atol=1e-6)


def test_resizes_position_embeddings():
  module = stem()
  slope = jnp.broadcast_to(jnp.arange(4.0)[:, None, None], (4, 4, 4))
  module.positions[...] = jnp.concatenate([jnp.full((1, 4), 9.0), slope.reshape(16, 4)])
  tokens, patches = module(jnp.zeros((1, 16, 6, 3)))
  assert patches.shape == (1, 8, 3, 4)
  np.testing.assert_array_equal(tokens[0, 0], np.full(4, 9.0))
  np.testing.assert_allclose(
    patches[0], jnp.broadcast_to(patches[0, :, :1, :1], (8, 3, 4)), rtol=1e-5
  )
  # Bicubic interpolation preserves a slope, except at the edges.
  np.testing.assert_allclose(patches[0, 3:5, 0, 0], [1.25, 1.75], rtol=1e-5)


def softmax(x):
  powers = np.exp(x - x.max(-1, keepdims=True))
  return powers / powers.sum(-1, keepdims=True)


def normalised(x):
  return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def attend(module, x):
  """Returns attention by its definition; queries, keys and values are ordered by head."""
  qkv = x @ np.asarray(module.qkv.kernel[...]) + np.asarray(module.qkv.bias[...])
  mixed = np.zeros_like(x)
  for head in range(2):
    q, k, v = (qkv[:, 6 * part + 3 * head :][:, :3] for part in range(3))
    mixed[:, 3 * head : 3 * head + 3] = softmax(q @ k.T / math.sqrt(3)) @ v
  return mixed @ np.asarray(module.out.kernel[...]) + np.asarray(module.out.bias[...])


def test_attention_equals_its_definition():
  module = Attention(6, 2, **settings())
  module.qkv.bias[...] = jnp.asarray(RNG.normal(size=18), jnp.float32)
  x = RNG.normal(size=(5, 6)).astype(np.float32)
  np.testing.assert_allclose(module(jnp.asarray(x[None]))[0], attend(module, x), atol=1e-5)


def test_block_equals_its_definition():
  block = Block(6, heads=2, mlp_ratio=4, **settings())
  x = 3 * RNG.normal(size=(5, 6)).astype(np.float32)
  tokens, patches = block((jnp.asarray(x[None]), jnp.zeros((1, 2, 2, 6))))
  expected = x + attend(block.attention, normalised(x))
  hidden = normalised(expected) @ np.asarray(block.mlp.grow.kernel[...])
  exact = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
  expected = expected + exact @ np.asarray(block.mlp.shrink.kernel[...])
  np.testing.assert_allclose(tokens[0], expected, atol=3e-5)
  np.testing.assert_array_equal(patches, tokens[:, 1:].reshape(1, 2, 2, 6))


def test_last_stage_is_the_normalised_class_token():
  x = RNG.normal(size=(2, 5, 6)).astype(np.float32)
  y = TokenNorm(6, **settings())((jnp.asarray(x), jnp.zeros((2, 2, 2, 6))))
  assert y.shape == (2, 1, 1, 6)
  np.testing.assert_allclose(y[:, 0, 0], normalised(x[:, 0]), atol=1e-5)


def test_shapes_and_dtypes_at_exits():
  model = build(
    backbone='vit9_cifar', exits=('block2', 'block6=conv'), head='linear', width=4,
    dtype='bfloat16', image_shape=(12, 16, 3),
  )  # fmt: skip
  images = np.zeros((2, 12, 16, 3), np.uint8)
  features, logits = nnx.eval_shape(
    lambda model, images: (model.features(images), model(images)), model, images
  )
  assert [x.shape for x in features] == [(2, 3, 4, 48), (2, 3, 4, 48), (2, 1, 1, 48)]
  assert {x.dtype for x in features} == {jnp.dtype('bfloat16')}
  assert logits.shape == (2, 3, 5)
  assert logits.dtype == jnp.float32
  leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}


def loss(model, x):
  for name in model.stage_names:
    x = model.stages[name](x)
  return jnp.square(x.astype(jnp.float32) - jnp.arange(x.shape[-1])).sum()


def test_all_parameters_get_gradients_in_bfloat16():
  def make(dtype):
    return ViT(3, depth=1, patch=4, side=8, head_size=4, width=8, **settings(dtype))

  x = image(12, 12)
  found, gradient = jax.jit(jax.value_and_grad(loss))(make(jnp.bfloat16), x.astype(jnp.bfloat16))
  assert found == pytest.approx(float(jax.jit(loss)(make(jnp.float32), x)), rel=0.05)
  for path, leaf in nnx.to_flat_state(nnx.state(gradient)):
    flat = np.asarray(leaf[...])
    assert flat.dtype == np.float32
    assert np.isfinite(flat).all()
    assert flat.any(), path
