"""Recorded runs of whole configurations, and of a joint phase alone."""

import jax
import pytest

from benchmarks import recipes
from mecl_jax.errors import UserError


@pytest.fixture
def config(tmp_path, toy_file):
  """Returns a function that writes a configuration and returns its path."""

  def write(*lines):
    path = tmp_path / 'tiny.py'
    text = ['from tests.toys import make_config', 'def get_config():']
    text += [f'  c = make_config({str(toy_file)!r})', *(f'  {line}' for line in lines)]
    path.write_text('\n'.join([*text, '  return c', '']))
    return str(path)

  return write


@pytest.fixture
def cache_as_before():
  kept = jax.config.jax_enable_compilation_cache
  yield
  jax.config.update('jax_enable_compilation_cache', kept)


@pytest.mark.slow
def test_whole_run_is_recorded(config, cache_as_before, tmp_path):
  found = recipes.whole(config(), {'seed': 3})
  seconds = found['seconds']
  assert 0 < seconds['compile'] < seconds['run']
  assert found['changes'] == {'seed': 3}
  assert [row['name'] for row in found['exits']][-1] == 'final'
  assert all(0 <= row['accuracy_low'] <= row['accuracy'] <= 1 for row in found['exits'])


def test_phase_alone_is_timed_over_seeds(config):
  path = config("c.strategy, c.curriculum.order = 'joint', 'none'")
  first, *others = (recipes.phase_alone(path, {}, seed) for seed in (2, 0, 1))
  found = recipes.of_seeds(first, others)
  assert found['first_seconds'] > max(found['seconds']['values'])  # it compiles
  assert len(found['exits'][0]['values']) == 2
  assert found['exits'][0]['interval'][0] <= found['exits'][0]['mean']
  assert found['set_up_seconds'] > 0


def test_phase_alone_needs_a_joint_phase(config):
  with pytest.raises(UserError, match='must be joint'):
    recipes.phase_alone(config(), {}, seed=0)


def test_interval_of_known_values():
  found = recipes.with_interval([1.0, 2.0, 3.0])
  assert found['mean'] == 2
  assert found['interval'] == pytest.approx([2 - 2.484, 2 + 2.484], abs=1e-3)
  assert recipes.with_interval([5.0])['interval'] is None


def test_unknown_field_is_rejected(config):
  with pytest.raises(UserError, match='a field cannot be changed'):
    recipes.load(config(), {'model.backbonee': 1})
