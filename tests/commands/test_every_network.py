"""Every backbone with every head: built, trained for a step, saved and restored.

By default the smallest of each family, made shallow; EVERY_BACKBONE=1 takes all, as they are
(more than an hour on two cores).
"""

import dataclasses
import functools
import os

from flax import nnx
import jax
import numpy as np
import pytest

from mecl_jax import config, models
from mecl_jax.models import BACKBONES, FINAL, HEADS, MultiExit
from mecl_jax.models.backbones import efficientnet, imagenet_resnet, inception, mobilenet
from mecl_jax.models.backbones.densenet import DenseNet
from mecl_jax.models.registry import CASCADE
from mecl_jax.training import devices
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.objective import Objective
from mecl_jax.training.optimizers import make_optimizer
from mecl_jax.training.step import Batches, make_step, split

SMALLEST = (
  'resnet8', 'wrn10_1', 'densenet_bc40_12', 'vgg11', 'resnet50_v1_5', 'mobilenet_v1',
  'mobilenet_v2_torch', 'efficientnet_b0', 'inception_v3', 'msdnet3', 'vit9_cifar',
  'speedrun',
)  # fmt: skip
EVERY = bool(os.environ.get('EVERY_BACKBONE'))
IN_BFLOAT16 = ('resnet8', 'speedrun', 'mobilenet_v2_torch', 'vit9_cifar')
CASES = (
  [(name, dtype) for name in BACKBONES for dtype in ('float32', 'bfloat16')]
  if EVERY
  else [(name, 'float32') for name in SMALLEST] + [(name, 'bfloat16') for name in IN_BFLOAT16]
)
ONE_CASCADE = 'cascade_conv'  # what a cascade adds is the same for every head
SIDE, CLASSES = 32, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
SOURCE = {'images': IMAGES, 'labels': np.arange(4, dtype=np.int32) % CLASSES}


def one_block_a_group(groups):
  return tuple((*kind, 1, stride) for *kind, _, stride in groups)


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
  """Leaves a block or two of every kind, since gradients of more take long to compile."""
  if EVERY:
    return
  entry = dataclasses.replace(
    BACKBONES['densenet_bc40_12'], make=functools.partial(DenseNet, blocks=(2, 2, 1))
  )
  monkeypatch.setitem(BACKBONES, 'densenet_bc40_12', entry)
  monkeypatch.setitem(imagenet_resnet.BLOCKS, 50, (2, 2, 1, 1))
  monkeypatch.setattr(inception, 'GROUPS', tuple(group[:2] for group in inception.GROUPS))
  for module, name in (
    (mobilenet.MobileNetV1, 'GROUPS'),
    (mobilenet.MobileNetV2, 'GROUPS'),
    (efficientnet, 'GROUPS'),
  ):
    monkeypatch.setattr(module, name, one_block_a_group(getattr(module, name)))


def build(name, dtype, seed=0):
  """Returns the backbone with all heads at one stage in its middle."""
  entry, kinds = BACKBONES[name], [head for head in HEADS if EVERY or not head.startswith(CASCADE)]
  side = max(SIDE, entry.smallest)
  model = models.build(
    backbone=name, exits=(), head='linear', dtype=dtype, seed=seed, num_classes=CLASSES,
    image_shape=(SIDE, SIDE, 3), image_size=side if side > 2 * SIDE else 0,
    mean=[0.5] * 3, std=[0.25] * 3, width=1, head_width=4,
  )  # fmt: skip
  *stages, last = models.stage_costs(model.backbone, (side, side, 3))
  places = [stage for stage in stages if min(stage.shape[:2]) >= 2]
  place = places[len(places) // 2]
  rngs = nnx.Rngs(seed)
  heads = {
    kind: HEADS[kind](place.shape, CLASSES, width=4, dtype=model.dtype, rngs=rngs)
    for kind in dict.fromkeys([*kinds, ONE_CASCADE])
  }
  return MultiExit(
    model.backbone,
    {**heads, FINAL: model.heads[FINAL]},
    [place.name] * len(heads) + [last.name],
    [*heads, entry.final_head],
    channels=3,
    image_size=model.image_size,
    mean=model.mean[...],
    std=model.std[...],
    dtype=model.dtype,
  )


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'dtype'), CASES)
def test_every_head_trains_and_is_restored(name, dtype, tmp_path):
  model = build(name, dtype)
  fresh = nnx.clone(model)  # before the step, whose network must have no more parts than this
  nnx.update(fresh, jax.tree.map(lambda x: x * 0, nnx.state(fresh, nnx.Not(nnx.RngState))))
  before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model.heads, nnx.Param)))
  train_a_step(model)
  after = nnx.to_pure_dict(nnx.state(model.heads, nnx.Param))
  for exit_name in model.exit_names:
    pairs = zip(*map(jax.tree.leaves, (before[exit_name], after[exit_name])), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs), exit_name
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(Position(total=1), model, {})
  with Checkpoints(tmp_path, read_only=True) as checkpoints:
    checkpoints.restore(fresh, devices.replicated(devices.make_mesh(1)))
  kept = nnx.Not(nnx.RngState)
  assert_equal(nnx.state(fresh, kept), nnx.state(model, kept))


def assert_equal(found, expected):
  flat = dict(nnx.to_flat_state(found))
  for path, value in nnx.to_flat_state(expected):
    np.testing.assert_array_equal(flat[path][...], value[...], err_msg=str(path))


def train_a_step(model):
  """Trains one joint step, which must leave finite numbers in the model."""
  everything = (('backbone',), ('heads',))
  models.set_trainable(model, everything)
  optimizer = make_optimizer(config.default().phases.joint)
  graphdef, state, frozen = split(model, everything, optimizer)
  step = make_step(graphdef, optimizer, Objective(model.exit_names))
  exits = len(model.exit_names)
  sent = Batches(
    ids=np.arange(4, dtype=np.int32)[None],
    weights=np.ones((1, 4, exits), np.float32),
    learning_rate=np.full(1, 0.01, np.float32),
    step=np.zeros(1, np.uint32),
  )
  state, metrics = step(state, frozen, SOURCE, jax.random.key(0), sent)
  assert metrics.finite.all()
  assert metrics.exit_loss.shape == (1, exits) and np.isfinite(metrics.exit_loss).all()
  nnx.update(model, state.params, state.batch_stats)
