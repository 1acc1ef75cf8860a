import functools

from flax import nnx
import jax
import numpy as np
import pytest

from mecl_jax import config, models
from mecl_jax.data.augment import augment
from mecl_jax.training.objective import Objective
from mecl_jax.training.optimizers import OptimizerSettings, make_optimizer
from mecl_jax.training.step import Batches, make_step, split
from mecl_jax.training.strategies import make_phases
from tests import toys

pytestmark = pytest.mark.stacks

IMAGES = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
LABELS = (np.arange(32) % 4).astype(np.int32)
SOURCE = {'images': IMAGES, 'labels': LABELS}


def make_model(**changes):
  toys.add_network()
  settings = {
    'backbone': toys.NETWORK,
    'exits': ('stage1', 'stage2'),
    'head': 'conv',
    'width': 4,
    'head_width': 4,
    'num_classes': 4,
    'image_shape': (8, 8, 1),
    'mean': np.array([0.5], np.float32),
    'std': np.array([0.2], np.float32),
    'seed': 0,
  }
  return models.build(**{**settings, **changes})


@functools.cache
def phase(strategy='joint', index=0):
  model = make_model()
  return make_phases(strategy, model.exit_names, model.segments)[index]


@functools.cache
def compiled_step(graphdef, optimizer, objective, augment):
  """Returns the step; tests with the same network and objective share its compilation."""
  return make_step(graphdef, make_optimizer(optimizer), objective, augment=augment)


def prepare(phase, augment=None, objective=None, extra=None, model=None, **settings):
  """Returns a compiled step, the initial train state and the frozen state."""
  s = config.default().phases.heads
  s.update(settings)
  model, optimizer = model or make_model(), make_optimizer(s)
  models.set_trainable(model, phase.trainable)
  graphdef, state, frozen = split(model, phase.trainable, optimizer, extra)
  objective = objective or Objective(phase.exits)
  step = compiled_step(graphdef, OptimizerSettings.of(s), objective, augment)
  return step, state, frozen


def batches(steps, exits, start=0, rate=0.1, weights=1.0, size=8):
  ids = np.stack([np.random.default_rng(start + i).permutation(32)[:size] for i in range(steps)])
  return Batches(
    ids=ids.astype(np.int32),
    weights=np.broadcast_to(np.float32(weights), (steps, size, exits)),
    learning_rate=np.full(steps, rate, np.float32),
    step=np.arange(start, start + steps, dtype=np.uint32),
  )


KEY = jax.random.key(0)


def test_loss_falls():
  step, state, frozen = prepare(phase())
  losses = []
  for t in range(30):
    state, metrics = step(state, frozen, SOURCE, KEY, batches(1, 3, start=t))
    losses.append(float(metrics.loss[0]))
  assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_several_steps_per_call_are_the_same_steps():
  step, state, frozen = prepare(phase(), augment)
  _, again, _ = prepare(phase())
  together, metrics = step(state, frozen, SOURCE, KEY, batches(4, 3))
  one_by_one = []
  for t in range(4):
    again, m = step(again, frozen, SOURCE, KEY, batches(1, 3, start=t))
    one_by_one.append(m)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  jax.tree.map(close, together, again)
  np.testing.assert_allclose(metrics.loss, [m.loss[0] for m in one_by_one], rtol=1e-5)
  assert metrics.accuracy.shape == (4, 3)


@pytest.mark.parametrize(
  ('strategy', 'index'),
  [('classifier_wise', 0), ('classifier_wise', 1), ('layer_wise', 0), ('layer_wise', 1)],
)
def test_only_trainable_parts_change(strategy, index):
  """Frozen means parameters and batch statistics, bit for bit."""
  phase_ = phase(strategy, index)
  step, state, frozen = prepare(phase_)
  before = dict(nnx.to_flat_state(nnx.state(make_model())))
  for t in range(3):
    state, _ = step(state, frozen, SOURCE, KEY, batches(1, len(phase_.exits), start=t))
  after = make_model()
  nnx.update(after, state.params, state.batch_stats, frozen)
  kinds = set()
  for path, value in nnx.to_flat_state(nnx.state(after)):
    trained = any(path[: len(prefix)] == prefix for prefix in phase_.trainable)
    same = np.array_equal(before[path][...], value[...])
    assert same != trained, path
    kinds.add((type(value).__name__, trained))
  assert {('Param', True), ('Param', False), ('BatchStat', True), ('BatchStat', False)} <= kinds


PLAIN_SGD = {'momentum': 0.0, 'weight_decay': 0.0, 'optimizer': 'sgd'}


def test_zero_weight_takes_an_exit_out_of_the_sum():
  step, state, frozen = prepare(phase(), **PLAIN_SGD)
  before = jax.tree.map(np.array, state.params)
  weights = np.array([1, 0, 0], np.float32)
  state, metrics = step(state, frozen, SOURCE, KEY, batches(1, 3, weights=weights))
  heads = state.params['heads']

  def moved(name):
    pairs = zip(jax.tree.leaves(heads[name]), jax.tree.leaves(before['heads'][name]), strict=True)
    return not all(np.array_equal(a, b) for a, b in pairs)

  changed = {name: moved(name) for name in heads}
  assert changed == {'stage1': True, 'stage2': False, 'final': False}
  np.testing.assert_allclose(metrics.loss, metrics.exit_loss[:, 0], rtol=1e-6)


def test_head_rates_scale_the_updates_of_heads():
  moved = []
  for rates in (None, np.array([[0.5, 1.0, 3.0]], np.float32)):
    step, state, frozen = prepare(phase(), **PLAIN_SGD)
    before = jax.tree.map(np.array, state.params)
    state, _ = step(state, frozen, SOURCE, KEY, batches(1, 3)._replace(head_rates=rates))
    moved.append(jax.tree.map(lambda new, old: np.asarray(new) - old, state.params, before))
  same, scaled = moved
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6)
  jax.tree.map(close, scaled['backbone'], same['backbone'])
  for name, factor in zip(('stage1', 'stage2', 'final'), (0.5, 1.0, 3.0), strict=True):
    jax.tree.map(lambda a, b, f=factor: close(a, f * b), scaled['heads'][name], same['heads'][name])


def test_dropout_depends_on_the_step():
  losses = []
  for number in (3, 3, 4):
    step, state, frozen = prepare(phase('classifier_wise', 1), model=make_model(head='mlp'))
    sent = batches(1, 2)._replace(step=np.full(1, number, np.uint32))
    _, metrics = step(state, frozen, SOURCE, KEY, sent)
    losses.append(metrics.exit_loss[0])
  np.testing.assert_array_equal(losses[0], losses[1])
  assert not np.any(np.equal(losses[0], losses[2]))


def test_changed_numbers_do_not_recompile():
  step, state, frozen = prepare(phase(), augment)
  state, _ = step(state, frozen, SOURCE, KEY, batches(1, 3))
  compiled = step._cache_size()
  for t, rate in enumerate((0.1, 0.05, 1e-3)):
    sent = batches(1, 3, start=t, rate=rate, weights=1.0 + t)
    state, _ = step(state, frozen, SOURCE, jax.random.key(t), sent)
  assert step._cache_size() == compiled


@pytest.mark.usefixtures('rounded_as_outside')
def test_streamed_examples_give_the_same_step():
  heads = phase('classifier_wise', 1)
  own = {'momentum': 0.8}  # the steps of other tests were compiled with the flags of the tests
  step, state, frozen = prepare(heads, **own)
  _, again, _ = prepare(heads, **own)
  sent = batches(1, 2)
  resident, _ = step(state, frozen, SOURCE, KEY, sent)
  examples = {'images': IMAGES[sent.ids], 'labels': LABELS[sent.ids]}
  streamed, _ = step(again, frozen, {}, KEY, sent._replace(examples=examples))
  jax.tree.map(np.testing.assert_array_equal, resident, streamed)


def test_augmentation_depends_on_the_step():
  step, state, frozen = prepare(phase(), augment)
  results = []
  for t in (0, 0, 1):
    _, state, _ = prepare(phase())
    sent = batches(1, 3)._replace(step=np.array([t], np.uint32))
    results.append(float(step(state, frozen, SOURCE, KEY, sent)[1].loss[0]))
  assert results[0] == results[1] != results[2]


def heads_source(phase, teacher=None):
  """Returns the features of the frozen backbone, with the labels and the logits of a teacher."""
  model = make_model()
  model.eval()
  summaries = model.summarise(model.features(IMAGES, phase.exits), phase.exits)
  source = {'summaries': summaries, 'labels': LABELS}
  return source if teacher is None else {**source, 'teacher': teacher}


def test_cached_soft_targets_equal_computed_ones():
  heads = phase('classifier_wise', 1)
  objective = Objective(heads.exits, distilled=0.5)
  model = make_model()
  model.eval()
  teacher = model(IMAGES, ('final',))[:, 0]
  ends = []
  for source in (SOURCE, heads_source(heads, teacher)):
    extra = {'temperature': np.float32(2)}
    step, state, frozen = prepare(heads, objective=objective, extra=extra)
    for t in range(3):
      state, metrics = step(state, frozen, source, KEY, batches(1, 2, start=t))
    ends.append((state.params, metrics.loss))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *ends)


@functools.cache
def first_loss(**objective):
  """Returns the loss of a joint step, that of each exit, and the state after it."""
  chosen = phase()
  extra = {'temperature': np.float32(2)} if objective.get('distilled') else None
  step, state, frozen = prepare(chosen, objective=Objective(chosen.exits, **objective), extra=extra)
  state, metrics = step(state, frozen, SOURCE, KEY, batches(1, len(chosen.exits)))
  return float(metrics.loss[0]), np.asarray(metrics.exit_loss[0]), state


TEACHER_ALONE = {'distilled': 1.0, 'growth': 1.5, 'growth_above': 1.0}
HALF_OF_A_TEACHER = {'distilled': 0.5, 'growth': 1.5, 'growth_above': 0.01}


def test_final_exit_has_no_teacher():
  """(1 - C) CE of the final exit, and (1 - C) CE + C T^2 H of the others."""
  plain, exit_loss, _ = first_loss()
  np.testing.assert_allclose(plain, exit_loss.sum(), rtol=1e-5)
  almost_all, same_exit_loss, _ = first_loss(**TEACHER_ALONE)
  half, _, _ = first_loss(**HALF_OF_A_TEACHER)
  np.testing.assert_allclose(same_exit_loss, exit_loss, rtol=1e-5)
  np.testing.assert_allclose(half, (plain + almost_all) / 2, rtol=1e-5)
  assert almost_all > 2 * 4 * 0.5  # two taught exits, T^2 = 4, entropies of some tenths of nats


def test_temperature_grows_while_the_teacher_is_sure():
  for objective, expected in ((HALF_OF_A_TEACHER, 3.0), (TEACHER_ALONE, 2.0)):
    _, _, state = first_loss(**objective)
    assert float(state.extra['temperature']) == expected


def test_survivors_weight_later_exits_by_earlier():
  plain, _, _ = first_loss()
  weighted, exit_loss, _ = first_loss(sample_weights='survivors')
  assert weighted != pytest.approx(plain, rel=1e-4)
  np.testing.assert_allclose(plain, exit_loss.sum(), rtol=1e-5)  # what is reported stays unweighted


def test_lookahead_pulls_parameters_and_statistics_back():
  """Nothing changes between pulls; after one, the train state is the mean of it and the start."""

  def with_slow(state):
    return state._replace(extra={'slow': jax.tree.map(np.array, (state.params, state.batch_stats))})

  step, plain, frozen = prepare(phase())
  start = jax.tree.map(np.array, plain)
  _, looking, _ = prepare(phase())
  looking = with_slow(looking)
  for t, share in enumerate((-1, 0.25)):
    sent = batches(1, 3, start=t)
    plain, _ = step(plain, frozen, SOURCE, KEY, sent)
    shares = np.full(1, share, np.float32)
    looking, _ = step(looking, frozen, SOURCE, KEY, sent._replace(slow_share=shares))

  def mean(a, b):
    return 0.75 * np.asarray(a) + 0.25 * np.asarray(b)

  expected = jax.tree.map(
    mean, (plain.params, plain.batch_stats), (start.params, start.batch_stats)
  )
  found = looking.params, looking.batch_stats
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, expected)
  jax.tree.map(np.testing.assert_array_equal, found, looking.extra['slow'])
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
    looking.opt_state,
    plain.opt_state,
  )


def test_given_flips_reach_the_augmentation():
  seen = []

  def record(key, images, mirrored):
    seen.append(mirrored)
    return jax.numpy.where(mirrored[:, None, None, None], 0, images)

  heads = phase('classifier_wise', 1)
  step, state, frozen = prepare(heads, record)
  mirrored = np.ones((1, 8), bool)
  state, black = step(state, frozen, SOURCE, KEY, batches(1, 2)._replace(mirrored=mirrored))
  assert seen[0].shape == (8,)
  _, state, _ = prepare(heads, record)
  zeros = {'images': IMAGES * 0, 'labels': LABELS}
  _, same = step(state, frozen, zeros, KEY, batches(1, 2)._replace(mirrored=~mirrored))
  np.testing.assert_array_equal(black.loss, same.loss)
