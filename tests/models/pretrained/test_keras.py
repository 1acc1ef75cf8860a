"""Tests that networks of keras.applications and ours have equal logits with equal weights."""

import functools
import os

import numpy as np
import pytest

from mecl_jax.models.backbones import efficientnet, imagenet_resnet
from mecl_jax.models.backbones.densenet import DenseNet
from mecl_jax.models.pretrained import STYLES, load, style
from mecl_jax.models.registry import BACKBONES, BackboneEntry
from tests.models.networks import build, quick_jit

os.environ['KERAS_BACKEND'] = 'jax'
keras = pytest.importorskip('keras', reason='the optional packages of [pretrained]')
pytest.importorskip('h5py', reason='the optional packages of [pretrained]')
applications = keras.applications


@pytest.fixture(autouse=True)
def quick_start(monkeypatch):
  """Draws kernels with NumPy, because JAX compiles a program for every shape."""

  def draw(initializer, shape, dtype=None):
    deviation = np.sqrt(2 / np.prod(shape[:-1]))
    return np.random.default_rng(len(shape)).normal(0, deviation, shape).astype(np.float32)

  monkeypatch.setattr(keras.initializers.VarianceScaling, '__call__', draw)


def randomise(network):
  """Sets random arrays; those of batch norms keep activations in a useful range."""
  rng = np.random.default_rng(0)
  for layer in network.layers:
    kind, values = type(layer).__name__, layer.get_weights()
    if kind == 'BatchNormalization':
      shape = values[0].shape
      moved = [rng.normal(0, 0.2, shape), rng.normal(0, 0.2, shape), rng.uniform(0.5, 1.5, shape)]
      layer.set_weights([rng.uniform(0.5, 1.5, shape), *moved] if len(values) == 4 else moved)
    elif kind == 'Normalization':
      mean, std = np.float32(STYLES['torch'])
      layer.adapt_mean.assign(mean)
      layer.adapt_variance.assign(np.square(std))
      layer.finalize_state()
    elif values:
      deviation = np.sqrt(2 / np.prod(values[0].shape[: -2 if 'Depthwise' in kind else -1]))
      sizes = (deviation, 0.2)
      layer.set_weights([
        rng.normal(0, size, value.shape) for size, value in zip(sizes, values, strict=False)
      ])  # fmt: skip


def assert_agrees(backbone, original, preprocess, path, *, side, width=16):
  """Saves the weights of the original, loads them into our network and compares logits."""
  randomise(original)
  original.save_weights(path)
  images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
  inputs = np.array(preprocess(images.astype(np.float32)))
  expected = np.asarray(quick_jit(functools.partial(original, training=False))(inputs)).reshape(
    2, -1
  )
  mean, std = STYLES[style(str(path), backbone)]
  settings = {'width': width, 'image_shape': (side, side, 3), 'mean': mean, 'std': std}
  model = build(backbone=backbone, exits=(), **settings)
  assert load(model, str(path), backbone, skip=()).fresh == ()
  logits = np.asarray(quick_jit(lambda images: model(images)[:, 0])(images))
  greatest = np.abs(expected).max()
  assert np.abs(expected[0] - expected[1]).max() > 0.01 * greatest
  assert np.abs(logits - expected).max() < 1e-4 * greatest


def settings(side):
  shape = (side, side, 3)
  return {'weights': None, 'input_shape': shape, 'classes': 5, 'classifier_activation': None}


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'original.weights.h5'


@pytest.mark.slow
def test_densenet(path, monkeypatch):
  make = functools.partial(DenseNet, blocks=(2, 1, 1, 2), stem='imagenet')
  monkeypatch.setitem(BACKBONES, 'densenet121', BackboneEntry(make, published=32))
  from keras.src.applications.densenet import DenseNet as Original

  original = Original([2, 1, 1, 2], **settings(32))
  preprocess = applications.densenet.preprocess_input
  assert_agrees('densenet121', original, preprocess, path, side=32)


def test_resnet(path, monkeypatch):
  """Convolutions have biases, and the channels of images are blue, green, red."""
  monkeypatch.setitem(imagenet_resnet.BLOCKS, 50, (2, 1))
  from keras.src.applications.resnet import ResNet, stack_residual_blocks_v1

  def stack(x):
    x = stack_residual_blocks_v1(x, 64, 2, stride1=1, name='conv2')
    return stack_residual_blocks_v1(x, 128, 1, name='conv3')

  original = ResNet(stack, preact=False, use_bias=True, **settings(32))
  assert_agrees('resnet50', original, applications.resnet.preprocess_input, path, side=32)


def test_mobilenet_v1(path):
  original = applications.MobileNet(alpha=0.25, **settings(32))
  preprocess = applications.mobilenet.preprocess_input
  assert_agrees('mobilenet_v1', original, preprocess, path, side=32, width=4)


@pytest.mark.slow
def test_mobilenet_v2(path):
  original = applications.MobileNetV2(**settings(32))
  preprocess = applications.mobilenet_v2.preprocess_input
  assert_agrees('mobilenet_v2', original, preprocess, path, side=32)


def test_efficientnet(path, monkeypatch):
  groups = ((1, 3, 16, 1, 1), (6, 5, 24, 2, 2))
  monkeypatch.setattr(efficientnet, 'GROUPS', groups)
  from keras.src.applications.efficientnet import EfficientNet

  keys = ('expand_ratio', 'kernel_size', 'filters_out', 'repeats', 'strides')
  blocks = [
    {**dict(zip(keys, group, strict=True)), 'filters_in': channels, 'se_ratio': 0.25}
    for channels, group in zip((32, 16), groups, strict=True)
  ]
  blocks = [{**block, 'id_skip': True} for block in blocks]
  original = EfficientNet(1, 1, 32, blocks_args=blocks, name='small', **settings(32))
  preprocess = applications.efficientnet.preprocess_input
  assert_agrees('efficientnet_b0', original, preprocess, path, side=32)


@pytest.mark.slow
def test_inception_v3(path):
  """Layers have no names of their own, and their numbers may begin with any number."""
  keras.layers.Conv2D(1, 1)  # uses number 0
  original = applications.InceptionV3(**settings(75))
  assert any('conv2d_94' in layer.name for layer in original.layers)
  preprocess = applications.inception_v3.preprocess_input
  assert_agrees('inception_v3', original, preprocess, path, side=75)
