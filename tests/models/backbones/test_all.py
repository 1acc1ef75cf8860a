"""Tests of all backbones, and their published sizes."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models import BACKBONES, DTYPES, stage_costs
from tests.models.networks import build, slow_except

SMALLEST_OF_EACH = (
  'wrn10_1', 'densenet_bc40_12', 'vgg11', 'mobilenet_v1', 'mobilenet_v2_cifar',
)  # fmt: skip
QUICK = (*SMALLEST_OF_EACH, 'msdnet3', 'vit9_cifar', 'inception_v3', 'efficientnet_b0')
RARE = [(name, 'float32') for name in SMALLEST_OF_EACH[:-1]]  # slow tests
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@functools.cache
def abstract(name, width=16):
  """Returns a backbone with shapes in place of arrays."""
  make = functools.partial(BACKBONES[name], 3, width=width, dtype=jnp.float32)
  return nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))


def totals(name, side, num_classes):
  """Returns the numbers of parameters and MACs, with the classifier."""
  costs = stage_costs(abstract(name), (side, side, 3))
  features = costs[-1].shape[-1]
  parameters = sum(cost.parameters for cost in costs) + (features + 1) * num_classes
  return parameters, sum(cost.macs for cost in costs) + features * num_classes


# With a classifier for 10 classes. WRN: 36.5 M and 2.7 M in the paper's tables, 5.2 G. DenseNet-BC
# with k = 12: 0.8 M in the paper. VGG-16: 9 * (3 * 64 + 64^2 + 64 * 128 + 128^2 + 128 * 256
# + 2 * 256^2 + 256 * 512 + 5 * 512^2) in kernels, 2 * 4224 in norms, 5130 in the classifier.
@pytest.mark.parametrize(
  ('name', 'parameters', 'giga_macs'),
  [
    ('wrn16_4', 2_748_890, 0.39),
    ('wrn28_10', 36_479_194, 5.24),
    ('densenet_bc40_12', 176_122, 0.07),
    ('densenet_bc100_12', 769_162, 0.29),
    ('vgg16', 14_724_042, 0.31),
  ],
)
def test_published_sizes_for_small_images(name, parameters, giga_macs):
  found, macs = totals(name, 32, 10)
  assert found == parameters
  assert macs / 1e9 == pytest.approx(giga_macs, abs=0.005)


# With a classifier for 1000 classes: the trainable parameters of Keras, and of torchvision for
# DenseNet-169, MobileNetV2 and the ResNets.
@pytest.mark.parametrize(
  ('name', 'parameters', 'giga_macs'),
  slow_except(
    ('mobilenet_v1', 'resnet18'),
    [
      ('densenet121', 7_978_856, 2.83),
      ('densenet169', 14_149_480, 3.36),
      ('densenet201', 20_013_928, 4.29),
      ('mobilenet_v1', 4_231_976, 0.57),
      ('mobilenet_v2', 3_504_872, 0.30),
      ('efficientnet_b0', 5_288_548, 0.39),
      ('efficientnet_lite0', 4_652_008, 0.39),
      ('resnet18', 11_689_512, 1.81),
      ('resnet34', 21_797_672, 3.66),
      ('resnet50', 25_557_032, 3.86),
      ('resnet50_v1_5', 25_557_032, 4.09),
      ('resnet101', 44_549_160, 7.57),
      ('resnet152_v1_5', 60_192_808, 11.51),
    ],
  ),
)
def test_published_sizes_for_imagenet(name, parameters, giga_macs):
  found, macs = totals(name, 224, 1000)
  assert found == parameters
  assert macs / 1e9 == pytest.approx(giga_macs, abs=0.005)


@pytest.mark.parametrize(
  'name', slow_except(QUICK, (name for name in BACKBONES if not name.startswith('resnet')))
)
def test_stage_names_are_unique(name):
  backbone = abstract(name)
  assert len(set(backbone.stage_names)) == len(backbone.stage_names) == len(backbone.stages)


@pytest.mark.parametrize('name', slow_except(QUICK, [*QUICK, 'densenet121', 'resnet50']))
def test_smallest_images_are_valid(name):
  side = BACKBONES[name].smallest
  for cost in stage_costs(abstract(name), (side, side, 3)):
    assert min(cost.shape) > 0


@pytest.mark.parametrize(
  ('name', 'dtype'),
  [
    pytest.param(name, dtype, marks=pytest.mark.slow if (name, dtype) in RARE else ())
    for name in SMALLEST_OF_EACH
    for dtype in ('float32', 'bfloat16')
  ],
)
def test_shapes_and_dtypes_with_two_early_exits(name, dtype):
  model = tiny(name, dtype=dtype)
  assert model.exit_names[-1] == 'final'

  def run(model, images):
    return model.features(images), model(images)

  features, logits = nnx.eval_shape(run, model, IMAGES)
  assert logits.shape == (2, 3, 5)
  assert logits.dtype == jnp.float32
  assert {x.dtype for x in features} == {jnp.dtype(DTYPES[dtype])}


def tiny(name, **changes):
  settings = {'exits': ('stage1', 'stage3_block1'), 'head': 'linear', 'width': 1}
  return build(backbone=name, image_shape=(32, 32, 3), **settings, **changes)


@pytest.mark.parametrize(
  ('name', 'first'),
  slow_except(
    ('densenet_bc40_12', 'vgg11', 'resnet8', 'resnet18'),
    [
      ('wrn16_4', 4),
      ('densenet_bc40_12', 2 * 3),
      ('vgg11', 16),
      ('mobilenet_v2', 8),
      ('resnet8', 4),
      ('resnet18', 16),
      ('resnet50', 16),
      ('efficientnet_b0', 8),
      ('inception_v3', 8),
    ],
  ),
)
def test_width_scales_the_published_channels(name, first):
  for width, channels in ((4, first), (16, 4 * first)):
    stages = abstract(name, width).stages
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    out = nnx.eval_shape(lambda stage, x: stage(x), stages[abstract(name).stage_names[0]], x)
    assert out.shape[-1] == channels


@pytest.mark.parametrize(
  ('name', 'side'),
  [
    ('densenet121', 32),
    ('mobilenet_v1', 32),
    ('vgg11', 16),
    ('resnet50', 32),
    ('inception_v3', 75),
  ],
)
def test_too_small_images_are_rejected(name, side):
  with pytest.raises(UserError, match=f'{side - 1}x40.*{name} needs at least {side}x{side}'):
    build(backbone=name, image_shape=(side - 1, 40, 3))
