from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models import draw_dropout, exit_costs, set_trainable
from mecl_jax.models.registry import CASCADE, HEADS
from tests.models.networks import IMAGES, build, call, quick_jit

EXITS = ('stage1', 'stage2', 'stage3_block1')
PLAIN = [name for name in HEADS if not name.startswith(CASCADE)]


@pytest.fixture(scope='module')
def model():
  return build(backbone='resnet14', exits=EXITS, head='cascade_conv')


@pytest.mark.parametrize('name', PLAIN)
def test_adds_a_linear_function_of_normalised_logits(name):
  head = HEADS[CASCADE + name]((4, 4, 3), 5, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0))
  head.eval()
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
  before = rng.normal(size=(2, 5)).astype(np.float32)
  normal = (before - before.mean(1, keepdims=True)) / before.std(1, keepdims=True)
  expected = call(head.head, x) + normal @ head.linear.kernel[...] + head.linear.bias[...]
  np.testing.assert_allclose(call(head, x, before), expected, rtol=1e-4, atol=1e-4)


def test_earlier_heads_run_and_the_first_is_plain(model):
  first, second, third, final = model.exit_names
  assert model.needed((third,)) == (first, second, third)
  assert model.needed((final,)) == (final,)
  assert model.needed((first,)) == (first,)

  def logits(exits=None):
    return quick_jit(lambda model: model(IMAGES, exits))(model)

  whole = logits()
  np.testing.assert_allclose(logits((third,))[:, 0], whole[:, 2], rtol=1e-5)
  np.testing.assert_allclose(logits((final, second)), whole[:, [3, 1]], rtol=1e-5)


def test_costs_include_earlier_heads(model):
  plain = exit_costs(build(backbone='resnet14', exits=EXITS), (8, 8, 3))
  costs = exit_costs(model, (8, 8, 3))
  between = 5 * 5  # MACs from five logits to five
  assert costs[0] == plain[0]
  assert costs[1].macs == plain[1].macs + plain[0].head_macs + between
  assert costs[2].head_macs == sum(cost.head_macs for cost in plain[:3]) + 2 * between
  assert costs[3] == plain[3]


def test_no_gradient_into_the_exit_before():
  head = HEADS['cascade_linear']((4, 4, 3), 5, width=8, dtype=jnp.float32, rngs=nnx.Rngs(0))
  x, before = jnp.ones((2, 4, 4, 3)), jnp.arange(10.0).reshape(2, 5)
  assert not np.any(jax.grad(lambda before: head(x, before)[0, 0])(before))
  assert np.any(jax.grad(lambda x: head(x, before)[0, 0])(x))
  assert not np.allclose(head(x, before), head(x, before**2))


@pytest.mark.parametrize(
  ('exits', 'head'),
  [
    (('stage1',), 'cascade_conv'),
    (('stage1=cascade_vit', 'stage2'), 'conv'),
    (('stage1=cascade_conv', 'stage2'), 'cascade_conv'),
  ],
)
def test_first_exit_cannot_be_a_cascade(exits, head):
  with pytest.raises(UserError, match=r'stage1 is cascade_\w+, but .* choose (conv|vit)'):
    build(exits=exits, head=head)


def test_dropout_depends_on_key_and_layer():
  model = build(backbone='resnet14', exits=EXITS, head='mlp', head_width=64)
  set_trainable(model, (('heads',),))

  def masks(seed):
    draw_dropout(model, jax.random.key(seed))
    heads = [model.heads[name] for name in model.exit_names[:-1]]
    return [np.asarray(head.dropout(jnp.ones(256))) > 0 for head in heads]

  first, again, other = masks(0), masks(0), masks(1)
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first[0], first[1])
  assert not np.array_equal(first[0], other[0])
