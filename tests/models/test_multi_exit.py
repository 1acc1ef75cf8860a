from flax import linen, nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models import BACKBONES, PixelStatistic, count_macs, set_trainable
from mecl_jax.models.backbones.backbone import Backbone
from mecl_jax.models.registry import BackboneEntry
from tests.models.networks import IMAGES, build
from tests.precision import float64

pytestmark = pytest.mark.stacks


@pytest.fixture
def model():
  return build()


def statistics(model):
  """Returns batch statistics by path."""
  flat = nnx.to_flat_state(nnx.state(model, nnx.BatchStat))
  return {path: np.asarray(variable[...]) for path, variable in flat}


def moved(model, exits=None):
  """Returns the paths of batch norms whose statistics a forward pass changes."""
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


def test_returns_logits_of_all_exits(model):
  assert model.exit_names == ('stage1', 'stage2', 'final')
  logits = model(IMAGES)
  assert logits.shape == (4, 3, 5)
  assert logits.dtype == jnp.float32
  features = model.features(IMAGES)
  assert [x.shape for x in features] == [(4, 8, 8, 4), (4, 4, 4, 8), (4, 2, 2, 16)]
  for index, name in enumerate(model.exit_names):
    np.testing.assert_array_equal(logits[:, index], model.heads[name](features[index]))


def test_segments_split_the_stages(model):
  assert model.exit_stages == ('stage1_block1', 'stage2_block1', 'stage3_block1')
  assert model.segments == (('stem', 'stage1_block1'), ('stage2_block1',), ('stage3_block1',))


def test_keeps_the_order_of_selected_exits(model):
  logits = model(IMAGES)
  np.testing.assert_array_equal(model(IMAGES, ('final', 'stage1')), logits[:, [2, 0]])
  features = model.features(IMAGES, ('stage2',))
  np.testing.assert_array_equal(model.classify(features, ('stage2',)), logits[:, [1]])


def test_later_stages_do_not_run(model):
  def macs(exits):
    return count_macs(lambda images: model(images, exits), IMAGES)

  assert macs(('stage1',)) < macs(('stage1', 'stage2')) < macs(None)


def test_unknown_exit_is_rejected(model):
  with pytest.raises(UserError, match=r"'stage3'.*stage1, stage2, final"):
    model(IMAGES, ('stage3',))


def test_normalises_pixels_by_statistics_in_the_state(model):
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


def test_repeats_grayscale_images():
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
def test_dtypes_in_training_mode(dtype, parameters, logits, features):
  with float64(dtype == 'float64'):
    model = build(dtype=dtype)
    model.train()

    def run(model):
      return model.features(IMAGES, ('stage1',)), model(IMAGES), nnx.state(model)

    (found,), answer, state = nnx.eval_shape(run, model)
    assert found.dtype == features
    assert answer.dtype == logits
    for leaves in (state, nnx.state(model)):
      assert {leaf.dtype for leaf in jax.tree.leaves(leaves)} == {jnp.dtype(parameters)}


def test_state_paths_begin_with_stage_or_head(model):
  stages = {('backbone', 'stages', name) for name in model.backbone.stage_names}
  heads = {('heads', name) for name in model.exit_names}
  for path, _ in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
    assert path[:3] in stages or path[:2] in heads
    assert all(isinstance(name, str) and '/' not in name and '.' not in name for name in path)


def test_new_model_is_in_evaluation_mode(model):
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
def test_only_trainable_parts_update_statistics(model, prefixes):
  model.train()  # `set_trainable` must reset this mode
  set_trainable(model, prefixes)
  assert moved(model) == norms(model, *prefixes)


def test_unused_stages_keep_their_statistics(model):
  set_trainable(model, [()])
  expected = norms(
    model, ('backbone', 'stages', 'stem'), ('backbone', 'stages', 'stage1_block1'),
    ('heads', 'stage1'),
  )  # fmt: skip
  assert moved(model, ('stage1',)) == expected


@pytest.mark.parametrize('prefix', [('heads', 'stage9'), ('backbone', 'stem'), ('mean',)])
def test_unknown_prefix_is_rejected(model, prefix):
  with pytest.raises(ValueError, match='/'.join(prefix)):
    set_trainable(model, [prefix])


def test_mode_survives_split_and_merge_under_jit(model):
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


def test_state_determines_the_logits(model):
  other = build(seed=1, mean=[0.0] * 3)
  state = nnx.state(other)
  nnx.replace_by_pure_dict(state, nnx.to_pure_dict(nnx.state(model)))
  assert not np.allclose(other(IMAGES), model(IMAGES))
  nnx.update(other, state)
  np.testing.assert_array_equal(other(IMAGES), model(IMAGES))


class _Linen(linen.Module):
  """A stage of Linen, with or without batch norm."""

  norm: bool

  @linen.compact
  def __call__(self, x):
    x = linen.Conv(4, (3, 3))(x)
    return linen.BatchNorm(use_running_average=False)(x) if self.norm else x


@pytest.mark.parametrize('norm', [True, False])
def test_linen_stage_with_batch_norm_is_rejected(norm, monkeypatch):
  """The bridge of Flax does not pass the training mode on, so its averages would never move."""

  def make(in_channels, *, width, dtype, rngs):
    stage = nnx.bridge.ToNNX(_Linen(norm), rngs=rngs)
    stage.lazy_init(jnp.zeros((1, 16, 16, in_channels)))
    return Backbone({'stem': stage, 'last': nnx.Conv(4, 4, (3, 3), strides=2, rngs=rngs)})

  monkeypatch.setitem(BACKBONES, 'mine', BackboneEntry(make))
  if norm:
    with pytest.raises(UserError, match='stage stem is a Linen module with batch norm'):
      build(backbone='mine', exits=('stem',))
  else:
    assert build(backbone='mine', exits=('stem',))(IMAGES).shape == (4, 2, 5)
