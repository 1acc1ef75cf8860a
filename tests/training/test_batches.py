import numpy as np
import pytest
from rich.console import Console

from mecl_jax.commands.resolve import resolve
from mecl_jax.curriculum import Curriculum
from mecl_jax.errors import UserError
from mecl_jax.training.batches import batch_maker, make_curriculum, visible_by_exit
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.run import set_up_run


def opened(c, workdir, **changes):
  c.update_from_flattened_dict({'strategy': 'joint', **changes})
  with Interruption() as interruption:
    return set_up_run(resolve(c), workdir, Console(quiet=True), interruption)


def made(c, workdir, steps=range(4), easiness=None, **changes):
  run = opened(c, workdir, **changes)
  (plan,) = run.plans
  curriculum = Curriculum(np.arange(200)[::-1], plan.pacing, 20, seed=3)
  batches = batch_maker(run, plan, curriculum, easiness, streamed=False)(steps)
  return batches, visible_by_exit(plan, curriculum, steps)


def test_examples_have_the_exit_weights_by_default(toy_config, tmp_path):
  batches, visible = made(toy_config, tmp_path, exit_weights=(0.5, 1.0, 2.0))
  assert batches.weights.dtype == np.float32 and batches.weights.shape == (4, 20, 3)
  assert (batches.weights == np.float32([0.5, 1, 2])).all()
  assert (visible == visible[:, :1]).all()


def test_exit_schedule_multiplies_the_exit_weights(toy_config, tmp_path):
  schedule = {'exit_schedule': 'shallow_first', 'curriculum.order': 'none'}
  batches, _ = made(toy_config, tmp_path, range(1, 12), exit_weights=(0.5, 1.0, 2.0), **schedule)
  progress = np.arange(1, 12)[:, None] / 11  # of 12 steps
  factors = 1 + 0.8 * (1 - 2 * progress) * np.array([1, 0, -1])
  expected = np.broadcast_to((factors * [0.5, 1, 2])[:, None], batches.weights.shape)
  np.testing.assert_allclose(batches.weights, expected, rtol=1e-5)
  assert batches.weight_rate is None


def test_weight_network_has_a_rate_at_every_step(toy_config, tmp_path):
  learned = {'curriculum.sample_weights': 'l2w_den', 'curriculum.weight_rate': 0.5}
  batches, _ = made(toy_config, tmp_path, range(3, 12), **learned)
  expected = 0.25 * (1 + np.cos(np.pi * np.arange(3, 12) / 12))
  np.testing.assert_allclose(batches.weight_rate, expected, rtol=1e-5)


def test_exit_counts_only_its_own_prefix(toy_config, tmp_path):
  factors = {'curriculum.per_exit': 'scaled', 'curriculum.exit_factors': (0.25, 0.5, 1.0)}
  constant = {'curriculum.pacing': 'constant', 'curriculum.start': 0.8}
  batches, visible = made(toy_config, tmp_path, range(8), **factors, **constant)  # one pass of 160
  assert visible.tolist() == [[40, 80, 160]] * 8
  rank = 199 - batches.ids  # the order is the reverse of the split
  assert rank.max() < 160
  for index, seen in enumerate((40, 80, 160)):
    assert ((batches.weights[..., index] > 0) == (rank < seen)).all()
    assert batches.weights[..., index].sum() == pytest.approx(160)


def test_easy_examples_weigh_more_at_early_exits(toy_config, tmp_path):
  easiness = np.linspace(0, 1, 200)
  chosen = {'curriculum.sample_weights': 'easy_weighted', 'curriculum.order': 'none'}
  batches, _ = made(toy_config, tmp_path, easiness=easiness, **chosen)
  np.testing.assert_allclose(batches.weights.mean(axis=1), 1, rtol=1e-5)
  first, second, last = (batches.weights[..., k].ravel() for k in range(3))
  easy = np.argsort(easiness[batches.ids].ravel())
  assert first[easy[-1]] > second[easy[-1]] > 1.3 and first[easy[0]] < second[easy[0]] < 0.7
  assert (last == 1).all()


def test_strength_per_exit_changes_over_the_phase(toy_config, tmp_path):
  """Batches of 20 hold all 200 examples in 10 steps; at step 11 of 12 the strength is easy_end."""
  chosen = {'curriculum.sample_weights': 'easy_weighted', 'curriculum.order': 'none'}
  chosen |= {'curriculum.exit_strengths': (0.6, 0.0, 0.2), 'curriculum.easy_end': (-0.5, 0.0, 0.2)}
  easiness = np.linspace(0, 1, 200)
  batches, _ = made(toy_config, tmp_path, range(12), easiness=easiness, **chosen)
  for step, strengths in ((0, (0.6, 0, 0.2)), (11, (-0.5, 0, 0.2))):
    expected = 1 + (2 * easiness[batches.ids[step]][:, None] - 1) * strengths
    np.testing.assert_allclose(batches.weights[step], expected / expected.mean(axis=0), rtol=1e-6)


def test_strengths_are_sent_to_the_step_for_own_confidence(toy_config, tmp_path):
  chosen = {'curriculum.sample_weights': 'own_confidence', 'curriculum.easy_strength': 0.4}
  batches, _ = made(toy_config, tmp_path, range(12), **chosen, **{'curriculum.easy_end': (1.0,)})
  assert batches.strengths.dtype == np.float32 and batches.strengths.shape == (12, 3)
  np.testing.assert_allclose(batches.strengths[[0, 11]], [[0.4, 0.2, 0], [1, 0.5, 0]], rtol=1e-6)
  assert made(toy_config, tmp_path, **{'curriculum.sample_weights': 'none'})[0].strengths is None


def test_four_orders_differ_only_in_order(toy_config, tmp_path):
  """Steps, seeds, learning rates and weights are the same; every prefix is balanced by class."""

  class Scores:
    score = np.random.default_rng(0).random(200)

  seen = {}
  for order in ('easy_first', 'anti', 'random', 'none'):
    run = opened(toy_config, tmp_path, **{'curriculum.order': order})
    (plan,) = run.plans
    curriculum, _ = make_curriculum(run, plan, Scores)
    batches = batch_maker(run, plan, curriculum, None, streamed=False)(range(plan.steps))
    seen[order] = plan, curriculum, batches
    if order != 'none':  # with none, all are visible and nothing is ranked
      labels = run.dataset.train.labels[curriculum.order]
      for prefix in range(4, 201, 4):
        assert (np.bincount(labels[:prefix], minlength=4) == prefix // 4).all()
  first, curriculum, batches = seen['easy_first']
  for plan, other, same in seen.values():
    assert plan.steps == first.steps and plan.seeds == first.seeds
    assert np.array_equal(plan.learning_rates, first.learning_rates)
    assert np.array_equal(same.weights, batches.weights)
    assert sorted(other.order) == list(range(200)) and other.seed == curriculum.seed
  for order in ('anti', 'random'):
    plan, other, _ = seen[order]
    steps = range(plan.steps)
    assert [other.visible(t) for t in steps] == [curriculum.visible(t) for t in steps]
    assert np.array_equal(other.ranks(steps), curriculum.ranks(steps))
    assert not np.array_equal(other.order, curriculum.order)
  assert {seen['none'][1].visible(t) for t in range(first.steps)} == {200}


def test_hardest_part_is_never_shown(toy_config, tmp_path):
  batches, visible = made(toy_config, tmp_path, range(12), **{'curriculum.max_share': 0.7})
  assert visible.max() == 140 and (199 - batches.ids).max() < 140


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'curriculum.pacing': 'constant', 'curriculum.start': 0.05},
     'constant never shows one whole batch: at the end 0.05 of 200 examples are visible, and a'
     ' batch has 20'),
    ({'curriculum.max_share': 0.01}, 'never shows one whole batch: at the end 0.01 of 200'),
    ({'curriculum.per_exit': 'scaled', 'curriculum.exit_factors': (0.01, 1.0, 1.0)},
     'of exit stage1 never shows one whole batch'),
    ({'batch_size': 2, 'curriculum.start': 0.015},
     'starts with 3 examples, too few for all 4 classes'),
  ],
)  # fmt: skip
def test_pacing_below_one_batch_is_rejected(toy_config, tmp_path, changes, message):
  with pytest.raises(UserError) as error:
    opened(toy_config, tmp_path, **changes)
  assert message in str(error.value)


def test_unbalanced_prefix_may_lack_a_class(toy_config, tmp_path):
  few = {'batch_size': 2, 'curriculum.start': 0.015, 'curriculum.class_balanced': False}
  assert opened(toy_config, tmp_path, **few).plans


def alternating(c, workdir, steps, **changes):
  """Returns the ids and flips of a run whose flips alternate; a pass of 200 images is 10 steps."""
  flips = {'augment.flip': True, 'augment.flip_alternates': True, **changes}
  batches, _ = made(c, workdir, steps, **{'curriculum.order': 'none', **flips})
  return batches.ids, batches.mirrored


def sides(ids, mirrored):
  """Returns whether each image of one pass is mirrored, by id."""
  return dict(zip(ids.ravel().tolist(), mirrored.ravel().tolist(), strict=True))


def test_flips_alternate_from_pass_to_pass(toy_config, tmp_path):
  ids, mirrored = alternating(toy_config, tmp_path, range(30))
  first, second, third = (sides(ids[s : s + 10], mirrored[s : s + 10]) for s in (0, 10, 20))
  assert len(first) == 200 and 60 < sum(first.values()) < 140
  assert all(first[image] != second[image] for image in first)
  assert first == third


def test_alternating_flips_are_a_function_of_step_and_seed(toy_config, tmp_path):
  ids, mirrored = alternating(toy_config, tmp_path, range(30))
  later, alone = alternating(toy_config, tmp_path, range(25, 27))
  assert np.array_equal(ids[25:27], later) and np.array_equal(mirrored[25:27], alone)
  toy_config.seed = 1
  assert not np.array_equal(alternating(toy_config, tmp_path, range(30))[1], mirrored)


def test_flips_alternate_within_the_visible_prefix(toy_config, tmp_path):
  """A prefix of 40 images is shown in passes of 2 steps."""
  constant = {'curriculum.pacing': 'constant', 'curriculum.start': 0.2}
  order = {'curriculum.order': 'random', **constant}
  ids, mirrored = alternating(toy_config, tmp_path, range(8), **order)
  first, second = sides(ids[:2], mirrored[:2]), sides(ids[2:4], mirrored[2:4])
  assert len(first) == 40 and all(first[image] != second[image] for image in first)


@pytest.mark.parametrize('off', [{'augment.flip_alternates': False}, {'augment.flip': False}])
def test_no_flips_are_sent_when_off(toy_config, tmp_path, off):
  assert alternating(toy_config, tmp_path, range(4), **off)[1] is None
