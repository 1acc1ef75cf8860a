"""Real early exit against the simulation, `policy.leaves_at(predict(..))`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.evaluation.policies import Policy, first_reached, fixed
from mecl_jax.evaluation.rules import RULES, Rule, fit_rule
from mecl_jax.inference import Answers, EarlyExit, disagreements
from tests.inference.networks import IMAGES, NETWORKS, build, predicted

pytestmark = pytest.mark.stacks

ROUNDING = 1e-5  # of confidences: above their rounding, far below their differences


@pytest.fixture(scope='module')
def compiled():
  """Early exit of a network, compiled once for all tests, and its predictions."""

  @functools.cache
  def make(name, batch_size):
    model = build(name)
    return EarlyExit(model, never_leave(model), batch_size=batch_size), predicted(model)

  return make


def never_leave(model):
  return Policy(Rule('margin'), np.full(len(model.exit_names) - 1, np.inf))


def tied_policies(name, split):
  """Policies whose thresholds are confidences of the images themselves."""
  rule, early = fit_rule(name, split), split.exits - 1
  if name == 'patience':
    return [Policy(rule, np.full(early, float(count))) for count in range(1, early + 2)]
  confidence = rule.confidence(split.logits)[:, :-1]
  return [
    Policy(rule, np.quantile(confidence, share, axis=0, method='higher'))
    for share in (0, 0.3, 0.5, 0.9)
  ]


def untied(policy, split):
  """An equivalent policy for these images, with thresholds between two confidences."""
  early = policy.rule.confidence(split.logits)[:, :-1]
  below = np.where(early < policy.thresholds, early, policy.thresholds - 1).max(axis=0)
  return Policy(policy.rule, (policy.thresholds + below) / 2)


ALIKE = pytest.mark.parametrize(
  ('name', 'batch_size'),
  [
    *((name, 4) for name in NETWORKS),
    *(pytest.param(name, 1, marks=() if name == 'conv' else pytest.mark.slow) for name in NETWORKS),
  ],
)


@ALIKE
@pytest.mark.parametrize('rule', RULES)
def test_classes_and_exits_equal_the_simulation(name, batch_size, rule, compiled):
  early_exit, split = compiled(name, batch_size)
  taken = set()
  for tied in tied_policies(rule, split):
    early_exit.policy = policy = untied(tied, split)
    exits = policy.leaves_at(split.logits)
    np.testing.assert_array_equal(exits, tied.leaves_at(split.logits))
    answers = early_exit(IMAGES)
    np.testing.assert_array_equal(answers.exits, exits)
    at_exit = split.logits[np.arange(len(IMAGES)), exits]
    np.testing.assert_array_equal(answers.classes, at_exit.argmax(axis=-1))
    np.testing.assert_allclose(answers.logits, at_exit, atol=ROUNDING)
    taken |= set(exits)
  assert {0, split.exits - 1} <= taken


@ALIKE
@pytest.mark.parametrize('rule', RULES)
def test_rounding_matters_only_at_ties(name, batch_size, rule, compiled):
  early_exit, split = compiled(name, batch_size)
  for policy in tied_policies(rule, split):
    early_exit.policy = policy
    answers, confidence = early_exit(IMAGES), policy.rule.confidence(split.logits)
    assert (first_reached(confidence, policy.thresholds - ROUNDING) <= answers.exits).all()
    assert (first_reached(confidence, policy.thresholds + ROUNDING) >= answers.exits).all()
    # For each threshold, at most the image that it comes from.
    assert disagreements(answers, policy, split.logits) <= len(policy.thresholds)


def test_disagreements_are_counted():
  logits = np.zeros((4, 2, 3))
  logits[:, 0, 1], logits[:, 1, 2] = [0, 0, 9, 9], 9
  policy = Policy(Rule('max_probability'), np.array([0.5]))
  agreed = Answers(np.array([2, 2, 1, 1]), np.array([1, 1, 0, 0]), logits[:, 0])
  assert disagreements(agreed, policy, logits) == 0
  assert disagreements(agreed._replace(exits=np.array([1, 0, 0, 0])), policy, logits) == 1
  assert disagreements(agreed._replace(classes=np.array([2, 2, 0, 0])), policy, logits) == 2


@pytest.mark.parametrize('batch_size', [4, 1])
def test_other_remaining_images_compile_nothing(batch_size, compiled):
  early_exit, split = compiled('conv', batch_size)
  early_exit(IMAGES[:1])
  policies, done = tied_policies('entropy', split), []

  def listen(event, *_, **__):
    done.append(event)

  # It stays, because JAX 0.7 cannot take a single listener away.
  jax.monitoring.register_event_duration_secs_listener(listen)
  for policy in policies:
    early_exit.policy = policy
    for count in (1, 5, 30):
      early_exit(IMAGES[:count])
  assert not done
  jax.jit(lambda x: x + 1)(0)
  assert done  # the listener does report compilations


@pytest.mark.parametrize('batch_size', [4, 1])
def test_no_segment_runs_after_all_have_left(batch_size):
  model = build()
  broken = model.heads['final'].linear.bias
  broken[...] = jnp.full_like(broken[...], jnp.nan)
  early_exit = EarlyExit(model, Policy(Rule('margin'), np.zeros(2)), batch_size=batch_size)
  assert set(early_exit(IMAGES[:6]).exits) == {0}
  early_exit.policy = never_leave(model)
  with pytest.raises(UserError, match='not finite'):
    early_exit(IMAGES[:6])


@pytest.mark.parametrize(
  ('name', 'batch_size'),
  [('conv', 4), ('conv', 1), ('cascade', 4), pytest.param('msdnet', 4, marks=pytest.mark.slow)],
)
def test_fixed_exit_answers_as_the_exit_alone(name, batch_size, compiled):
  early_exit, split = compiled(name, batch_size)
  for number in range(split.exits):
    early_exit.policy = fixed(number, split.exits)
    answers = early_exit(IMAGES)
    assert set(answers.exits) == {number}
    np.testing.assert_allclose(answers.logits, split.logits[:, number], atol=ROUNDING)
    assert disagreements(answers, early_exit.policy, split.logits) == 0
  early_exit.policy = Policy(Rule('margin'), np.full(split.exits - 1, -np.inf))
  assert set(early_exit(IMAGES).exits) == {0}


@pytest.mark.parametrize('batch_size', [4, 1])
def test_fixed_exit_runs_no_other_head_and_decides_nothing(batch_size, monkeypatch):
  model = build()
  for name in ('stage1', 'final'):
    broken = model.heads[name].linear.bias
    broken[...] = jnp.full_like(broken[...], jnp.nan)
  for decision in ('reaches', 'one_reaches', 'confidence'):
    monkeypatch.setattr(Rule, decision, None)
  answers = EarlyExit(model, fixed(1, 3), batch_size=batch_size)(IMAGES[:6])
  assert set(answers.exits) == {1} and np.isfinite(answers.logits).all()


@pytest.mark.parametrize('batch_size', [4, 1])
def test_logits_that_are_not_finite_are_rejected(batch_size):
  model = build()
  broken = model.heads['stage1'].linear.bias
  broken[...] = jnp.full_like(broken[...], jnp.inf)
  with pytest.raises(UserError, match='not finite'):
    EarlyExit(model, never_leave(model), batch_size=batch_size)(IMAGES[:1])


def test_bfloat16_answers_agree_with_predictions():
  model = build(dtype='bfloat16', exits=('stage1',))
  split = predicted(model)
  _, _, tied, _ = tied_policies('max_probability', split)
  policy = untied(tied, split)
  answers = EarlyExit(model, policy, batch_size=4)(IMAGES)
  assert disagreements(answers, policy, split.logits) == 0


def test_bad_arguments_are_rejected():
  model = build()
  with pytest.raises(UserError, match='a policy of 2 exits for predictions of 3'):
    EarlyExit(model, Policy(Rule('margin'), np.zeros(1)))
  with pytest.raises(UserError, match='the batch size is 0'):
    EarlyExit(model, never_leave(model), batch_size=0)
  with pytest.raises(UserError, match='no images'):
    EarlyExit(model, never_leave(model))(IMAGES[:0])
