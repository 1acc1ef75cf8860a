from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models import PixelStatistic, count_macs, set_trainable
from tests.models.networks import IMAGES, build


@pytest.fixture
def model():
  return build()


def statistics(model):
  """Batch statistics by path."""
  flat = nnx.to_flat_state(nnx.state(model, nnx.BatchStat))
  return {path: np.asarray(variable[...]) for path, variable in flat}


def moved(model, exits=None):
  """Paths, without the statistic's own name, whose statistics a forward pass changes."""
  before = statistics(model)

  @jax.jit
  def forward(state):
    merged = nnx.merge(graphdef, state)
    merged(IMAGES, exits)
    return nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

  graphdef, state = nnx.split(model)
  nnx.update(model, forward(state))
  after = statistics(model)
  changed = {path[:-1]: before[path].tobytes() != after[path].tobytes() for path in before}
  return {path for path, is_changed in changed.items() if is_changed}


def norms(model, *prefixes):
  paths = {path[:-1] for path in statistics(model)}
  return {path for path in paths if any(path[: len(prefix)] == prefix for prefix in prefixes)}


def test_logits_of_all_exits_earliest_first(model):
  assert model.exit_names == ('stage1', 'stage2', 'final')
  logits = model(IMAGES)
  assert logits.shape == (4, 3, 5)
  assert logits.dtype == jnp.float32
  features = model.features(IMAGES)
  assert [x.shape for x in features] == [(4, 8, 8, 4), (4, 4, 4, 8), (4, 2, 2, 16)]
  for index, name in enumerate(model.exit_names):
    np.testing.assert_array_equal(logits[:, index], model.heads[name](features[index]))


def test_segments_part_the_stages(model):
  assert model.exit_stages == ('stage1_block1', 'stage2_block1', 'stage3_block1')
  assert model.segments == (('stem', 'stage1_block1'), ('stage2_block1',), ('stage3_block1',))


def test_chosen_exits_come_in_the_order_asked(model):
  logits = model(IMAGES)
  np.testing.assert_array_equal(model(IMAGES, ('final', 'stage1')), logits[:, [2, 0]])
  features = model.features(IMAGES, ('stage2',))
  np.testing.assert_array_equal(model.classify(features, ('stage2',)), logits[:, [1]])


def test_only_the_stages_that_an_exit_needs_run(model):
  def macs(exits):
    return count_macs(lambda images: model(images, exits), IMAGES)

  assert macs(('stage1',)) < macs(('stage1', 'stage2')) < macs(None)


def test_unknown_exits_are_refused(model):
  with pytest.raises(UserError, match=r"'stage3'.*stage1, stage2, final"):
    model(IMAGES, ('stage3',))


def test_pixels_are_normalised_by_the_numbers_in_the_state(model):
  state = nnx.state(model, PixelStatistic)
  assert set(dict(nnx.to_flat_state(state))) == {('mean',), ('std',)}
  stem = model.backbone.stages['stem']
  seen = (IMAGES / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.3]
  expected = nnx.relu(stem.norm(stem.conv(jnp.asarray(seen, jnp.float32))))
  np.testing.assert_allclose(
    model.backbone.stages['stage1_block1'](expected), model.features(IMAGES, ('stage1',))[0],
    rtol=1e-4, atol=1e-5,
  )  # fmt: skip
  np.testing.assert_array_equal(model(IMAGES), model(IMAGES.astype(np.float32)))


def test_gray_images_are_repeated_for_a_colour_backbone():
  gray = build(image_shape=(8, 8, 1), mean=[0.4], std=[0.2], input_channels=3)
  colour = build(mean=[0.4] * 3, std=[0.2] * 3)
  images = IMAGES[..., :1]
  np.testing.assert_array_equal(gray(images), colour(np.repeat(images, 3, axis=-1)))


@pytest.mark.parametrize(
  ('dtype', 'parameters', 'logits', 'features'),
  [
    ('float32', 'float32', 'float32', 'float32'),
    ('bfloat16', 'float32', 'float32', 'bfloat16'),
    ('float64', 'float64', 'float64', 'float64'),
  ],
)
def test_dtypes_in_and_after_training_mode(dtype, parameters, logits, features):
  with jax.enable_x64(dtype == 'float64'):
    model = build(dtype=dtype)
    model.train()
    assert model.features(IMAGES, ('stage1',))[0].dtype == features
    assert model(IMAGES).dtype == logits
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype(parameters)}


def test_paths_begin_with_the_part_that_they_belong_to(model):
  stages = {('backbone', 'stages', name) for name in model.backbone.stage_names}
  heads = {('heads', name) for name in model.exit_names}
  for path, _ in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
    assert path[:3] in stages or path[:2] in heads
    assert all(isinstance(name, str) and '/' not in name and '.' not in name for name in path)


def test_a_new_model_is_in_evaluation_mode(model):
  assert moved(model) == set()


@pytest.mark.parametrize(
  'prefixes',
  [
    (('backbone',), ('heads', 'final')),
    (('heads', 'stage1'), ('heads', 'stage2')),
    (('backbone', 'stages', 'stage2_block1'), ('heads', 'stage2')),
    (('backbone',), ('heads',)),
    (),
  ],
)
def test_statistics_move_in_the_trainable_parts_and_nowhere_else(model, prefixes):
  model.train()  # a mode that must not linger
  set_trainable(model, prefixes)
  assert moved(model) == norms(model, *prefixes)


def test_statistics_of_stages_that_do_not_run_stay(model):
  set_trainable(model, [()])
  expected = norms(
    model, ('backbone', 'stages', 'stem'), ('backbone', 'stages', 'stage1_block1'),
    ('heads', 'stage1'),
  )  # fmt: skip
  assert moved(model, ('stage1',)) == expected


@pytest.mark.parametrize('prefix', [('heads', 'stage9'), ('backbone', 'stem'), ('mean',)])
def test_a_prefix_that_leads_nowhere_is_an_error(model, prefix):
  with pytest.raises(ValueError, match='/'.join(prefix)):
    set_trainable(model, [prefix])


def test_pure_state_merges_under_jit_and_keeps_the_mode(model):
  set_trainable(model, [('heads', 'stage1')])
  graphdef, params, stats, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
  pure = tuple(map(nnx.to_pure_dict, (params, stats, rest)))

  @jax.jit
  def forward(params, stats, rest):
    merged = nnx.merge(graphdef, params, stats, rest)
    return merged(IMAGES), nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

  logits, after = forward(*pure)
  np.testing.assert_allclose(logits, model(IMAGES), rtol=1e-4, atol=1e-5)
  assert jax.tree.structure(after) == jax.tree.structure(pure[1])
  assert nnx.split(nnx.merge(graphdef, *pure))[0] == graphdef


def test_a_state_read_back_makes_another_model_the_same(model):
  other = build(seed=1, mean=[0.0] * 3)
  state = nnx.state(other)
  nnx.replace_by_pure_dict(state, nnx.to_pure_dict(nnx.state(model)))
  assert not np.allclose(other(IMAGES), model(IMAGES))
  nnx.update(other, state)
  np.testing.assert_array_equal(other(IMAGES), model(IMAGES))
