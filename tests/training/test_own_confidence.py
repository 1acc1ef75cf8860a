"""Weights by the confidence of each exit itself, and its record."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.evaluation import load_predictions
from mecl_jax.training import own_confidence
from mecl_jax.training.losses import cross_entropy
from mecl_jax.training.step import Objective
from tests.runs import run, stopped_at
from tests.training.test_step import KEY, SOURCE, batches, phase, prepare

pytestmark = pytest.mark.stacks


favour_confident = jax.jit(own_confidence.favour_confident)


def logits_of(probabilities):
  """Returns logits of two classes with these probabilities of class 1, [batch, exits, 2]."""
  p = np.asarray(probabilities, np.float32)
  return jnp.stack([np.log(1 - p), np.log(p)], axis=-1)


def test_record_is_a_moving_average_over_visits():
  record, labels = own_confidence.empty_record(3, 2)['confidence'], np.array([1, 0])
  for ids, probabilities in (
    ([2, 0], [[0.8, 0.5], [0.1, 0.4]]),
    ([0, 2], [[0.6, 0.2], [0.3, 1.0]]),
  ):
    ids, logits = np.array(ids), logits_of(np.minimum(probabilities, 1 - 1e-7))
    averages = own_confidence.averaged(jnp.asarray(record), ids, logits, labels, 0.75)
    record = own_confidence.updated(jnp.asarray(record), ids, averages)
  # Example 0: class 0 with 0.9 and 0.6, then class 1 with 0.6 and 0.2. Example 2 the reverse.
  expected = [[0.75 * 0.9 + 0.25 * 0.6, 0.75 * 0.6 + 0.25 * 0.2], [-1, -1],
              [0.75 * 0.8 + 0.25 * 0.7, 0.75 * 0.5]]  # fmt: skip
  np.testing.assert_allclose(record, expected, atol=1e-6)


def test_example_twice_in_a_batch_keeps_the_larger_average():
  record = jnp.full((2, 1), 0.9)
  for averages in ([0.3, 0.5, 0.1], [0.5, 0.3, 0.1]):
    new = own_confidence.updated(record, np.array([1, 1, 0]), jnp.array(averages)[:, None])
    np.testing.assert_allclose(new[:, 0], [0.1, 0.5])


def test_weights_follow_the_rank_within_the_batch():
  averages = jnp.array([[0.9, 0.5], [0.1, 0.5], [0.3, 0.9], [0.2, 0.0]])
  weights = jnp.array([[2.0, 1], [2, 1], [0, 1], [2, 1]])
  found = favour_confident(weights, averages, jnp.array([0.5, -0.9]))
  # Exit 1 has ranks 1, 0 and 1/2. At exit 2 two examples share the ranks 1/3 and 2/3.
  np.testing.assert_allclose(found[:, 0], [3, 1, 0, 2], rtol=1e-6)
  np.testing.assert_allclose(found[:, 1], [1, 1, 0.1, 1.9], rtol=1e-5)


def test_weights_keep_their_sum():
  averages = jnp.array([[0.9], [0.1], [0.3]])
  found = favour_confident(jnp.array([[1.0], [2], [1]]), averages, jnp.ones(1))
  np.testing.assert_allclose(found[:, 0], [8 / 3, 0, 4 / 3], rtol=1e-6)


@pytest.mark.parametrize('seen', [0, 1])
def test_exit_that_counts_at_most_one_example_is_not_weighted(seen):
  weights = jnp.zeros((3, 1)).at[:seen].set(2.0)
  found = favour_confident(weights, jnp.array([[0.1], [0.2], [0.3]]), jnp.ones(1))
  assert np.array_equal(found, weights)


def with_strengths(sent, strengths):
  steps = len(sent.learning_rate)
  return sent._replace(strengths=np.tile(np.float32(strengths), (steps, 1)))


def test_step_weighs_by_its_own_record():
  """The loss of the second step is that of hand-made weights from both steps' probabilities."""
  exits, decay, strengths = phase().exits, 0.5, np.float32([0.8, 0.4, 0.0])
  objective = Objective(exits, decay=decay)
  step, state, frozen = prepare(
    phase(), objective=objective, extra=own_confidence.empty_record(32, 3)
  )
  sent = batches(1, 3, size=32, rate=0.0)  # nothing is learned: both steps have the same logits
  state, first = step(state, frozen, SOURCE, KEY, with_strengths(sent, strengths))
  record = np.asarray(state.extra['confidence'])
  assert ((record > 0) & (record < 1)).all()
  # Another record gives another ranking: the confidence of the reversed examples.
  changed = state._replace(extra={'confidence': jnp.asarray(record[::-1] ** 4)})
  state, second = step(changed, frozen, SOURCE, KEY, with_strengths(sent, strengths))
  average = decay * record[::-1] ** 4 + (1 - decay) * record
  np.testing.assert_allclose(state.extra['confidence'], average, rtol=1e-5)
  losses = -np.log(record)
  for metrics, by in ((first, record), (second, average)):
    ranks = np.argsort(np.argsort(by, axis=0), axis=0) / 31
    weights = 1 + strengths * (2 * ranks - 1)
    expected = (losses * weights / weights.mean(axis=0)).mean(axis=0).sum()
    np.testing.assert_allclose(metrics.loss[0], expected, rtol=1e-4)


def test_no_gradient_flows_through_the_weights():
  logits, labels = jax.random.normal(jax.random.key(0), (6, 2, 4)), np.arange(6) % 4
  record, ids = jnp.full((6, 2), 0.3), np.arange(6)
  examples = {'ids': ids, 'labels': labels, 'strengths': jnp.array([0.8, 0.4])}

  @jax.jit
  def weights_of(x):
    return own_confidence.weighted(jnp.ones((6, 2)), {'confidence': record}, examples, x, 0.5)[0]

  def loss(x):
    return (weights_of(x) * cross_entropy(x, labels)).sum()

  fixed = weights_of(logits)
  expected = jax.jit(jax.grad(lambda x: (fixed * cross_entropy(x, labels)).sum()))(logits)
  np.testing.assert_allclose(jax.jit(jax.grad(loss))(logits), expected, rtol=1e-6)
  assert len(np.unique(np.round(fixed[:, 0], 4))) == 6


@pytest.mark.parametrize(
  'strategy',
  ['classifier_wise', *(pytest.param(s, marks=pytest.mark.slow) for s in ('joint', 'layer_wise'))],
)
def test_own_confidence_resumes_bit_identical(toy_config, tmp_path, strategy):
  c = toy_config
  c.strategy, c.curriculum.order, c.curriculum.sample_weights = strategy, 'none', 'own_confidence'
  c.curriculum.easy_end = (-0.4,)
  for group in ('heads', 'joint'):
    c.phases[group].duration = '36 steps'
  with stopped_at({'layer_wise': 7}.get(strategy, 25)):
    run(c, tmp_path / 'stopped')
  results = []
  for name in ('stopped', 'whole'):
    summary = run(c, tmp_path / name)
    results.append(load_predictions(tmp_path / name / 'predictions.npz')['test_logits'])
  assert np.array_equal(*results)
  curriculum = summary['curriculum']
  assert curriculum['sample_weights'] == 'own_confidence' and curriculum['easy_strength'] == 0.8
  assert curriculum['teacher'] is None and not (tmp_path / 'whole/difficulty.npz').exists()


def test_strength_0_is_plain_training(toy_config, tmp_path):
  toy_config.curriculum.order = 'none'
  found = []
  for name, changes in (
    ('plain', {}),
    ('zero', {'curriculum.sample_weights': 'own_confidence', 'curriculum.easy_strength': 0.0}),
    ('strong', {'curriculum.easy_strength': 1.0}),
  ):
    run(toy_config, tmp_path / name, **changes)
    found.append(load_predictions(tmp_path / name / 'predictions.npz')['test_logits'])
  plain, zero, strong = found
  np.testing.assert_allclose(plain, zero, rtol=1e-4, atol=1e-5)
  assert abs(strong - plain)[:, :2].max() > 1e-3
