from flax import nnx
import jax.numpy as jnp
import pytest

from mecl_jax.models.named import Named

pytestmark = pytest.mark.stacks


@pytest.fixture
def parts():
  rngs = nnx.Rngs(0)
  return Named({'stem': nnx.Linear(2, 3, rngs=rngs), 'block': nnx.BatchNorm(3, rngs=rngs)})


def test_is_a_mapping(parts):
  assert list(parts) == ['stem', 'block']
  assert len(parts) == 2
  assert 'stem' in parts
  assert 'graphdef' not in parts
  assert parts['block'] is parts.block
  with pytest.raises(KeyError, match='head'):
    parts['head']


def test_names_are_in_the_state_paths(parts):
  paths = [path for path, _ in nnx.to_flat_state(nnx.state(parts))]
  assert paths == [
    ('block', 'bias'), ('block', 'mean'), ('block', 'scale'), ('block', 'var'),
    ('stem', 'bias'), ('stem', 'kernel'),
  ]  # fmt: skip


def test_survives_split_and_merge(parts):
  merged = nnx.merge(*nnx.split(parts))
  assert set(merged) == {'stem', 'block'}
  x = jnp.ones((1, 2))
  assert (merged['stem'](x) == parts['stem'](x)).all()
  assert merged != parts


def test_mode_reaches_the_modules(parts):
  parts.eval()
  assert parts['block'].use_running_average
  parts.train()
  assert not parts['block'].use_running_average
