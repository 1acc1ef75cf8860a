import functools
import os
import sys

import numpy as np
import pytest

from mecl_jax.errors import UserError
from mecl_jax.models.pretrained import STYLES, files, read, style

os.environ['KERAS_BACKEND'] = 'jax'
h5py = pytest.importorskip('h5py', reason='the optional packages of [pretrained]')
safetensors_numpy = pytest.importorskip('safetensors.numpy', reason='as h5py')


def write_keras(path, layers):
  """Writes a file in the format of Keras 3; layers: group -> (name, arrays)."""
  with h5py.File(path, 'w') as file:
    for group, (name, arrays) in layers.items():
      variables = file.create_group(f'layers/{group}/vars')
      variables.attrs['name'] = name
      for index, array in enumerate(arrays):
        variables[str(index)] = array
  return str(path)


def numbers(*values):
  return [np.float32([value]) for value in values]


def test_keras_variables_get_names(tmp_path):
  path = write_keras(tmp_path / 'x.weights.h5', {
    'conv2d': ('stem', numbers(1, 2)),
    'depthwise_conv2d_3': ('deep', numbers(3)),
    'dense': ('predictions', numbers(4, 5)),
    'batch_normalization_1': ('bn', numbers(6, 7, 8, 9)),
    'batch_normalization_2': ('unscaled', numbers(7, 8, 9)),
    'normalization': ('normalization', numbers(0, 0, 0)),
    'dropout/seed_generator': ('seed_generator', numbers(0)),
    'activation': ('relu', []),
    'odd': ('other', numbers(10)),
  })  # fmt: skip
  assert {name: value.item() for name, value in read(path, 'densenet121').items()} == {
    'stem.kernel': 1, 'stem.bias': 2, 'deep.depthwise_kernel': 3,
    'predictions.kernel': 4, 'predictions.bias': 5,
    'bn.gamma': 6, 'bn.beta': 7, 'bn.moving_mean': 8, 'bn.moving_variance': 9,
    'unscaled.gamma': 1, 'unscaled.beta': 7, 'unscaled.moving_mean': 8,
    'unscaled.moving_variance': 9, 'other.0': 10,
  }  # fmt: skip


@pytest.mark.parametrize('first', [0, 94])
def test_automatic_names_are_numbered_from_0(tmp_path, first):
  """Their order is that of the numbers in the names, not of the groups or of strings."""
  layers = {
    f'conv2d_{group}': (f'conv2d_{first + made}' if first + made else 'conv2d', numbers(made))
    for group, made in enumerate((10, 0, 9, 2, 1, 3, 4, 5, 6, 7, 8))
  }
  layers['batch_normalization'] = ('batch_normalization_7', numbers(1, 2, 3, 4))
  arrays = read(write_keras(tmp_path / 'x.weights.h5', layers), 'inception_v3')
  assert [arrays[f'conv2d_{made}.kernel'].item() for made in range(11)] == list(range(11))
  assert arrays['batch_normalization_0.beta'].item() == 2


def test_ignores_optimiser_variables(tmp_path):
  path = write_keras(tmp_path / 'x.weights.h5', {'dense': ('top', numbers(1, 2))})
  with h5py.File(path, 'a') as file:
    file['optimizer/vars/0'] = np.zeros(3)
    file['optimizer/vars'].attrs['name'] = 'adam'
  assert set(read(path, 'densenet121')) == {'top.kernel', 'top.bias'}


def test_reads_safetensors_unchanged(tmp_path):
  path = tmp_path / 'x.safetensors'
  safetensors_numpy.save_file({'conv1.weight': np.arange(6, dtype=np.float32)}, path)
  arrays = read(str(path), 'resnet50_v1_5')
  np.testing.assert_array_equal(arrays['conv1.weight'], np.arange(6))


def test_damaged_hdf5_file_is_rejected(tmp_path, monkeypatch):
  """h5py raises RuntimeError, KeyError or OSError, or does not end, depending on the place."""
  monkeypatch.setattr(files, '_SECONDS', 3.0)
  path = tmp_path / 'x.weights.h5'
  write_keras(path, {'dense': ('top', numbers(1, 2)), 'conv2d': ('stem', numbers(3, 4))})
  content, messages = path.read_bytes(), []
  for start in (0, 64, 704, 1024, 2048, 4032):
    path.write_bytes(content[:start] + b'\xff' * 64 + content[start + 64 :])
    try:
      read(str(path), 'densenet121')
    except UserError as error:
      messages.append(str(error))
  assert 'HDF5 does not end within 3 s' in messages[-1]
  assert len(messages) >= 4
  for message in messages:
    assert 'x.weights.h5 is damaged or not an HDF5 file' in message and '\n' not in message


@pytest.mark.parametrize('name', ['x.weights.h5', 'x.safetensors'])
def test_damaged_or_missing_file_is_rejected(tmp_path, name):
  path = tmp_path / name
  with pytest.raises(UserError, match=f'{name}: file not found'):
    read(str(path), 'densenet121')
  path.write_bytes(b'\x89HDF\r\n\x1a\nno more')
  with pytest.raises(UserError, match=f'{name} is damaged') as caught:
    read(str(path), 'densenet121')
  assert '\n' not in str(caught.value)


def test_file_without_layer_names_is_rejected(tmp_path):
  path = tmp_path / 'x.weights.h5'
  with h5py.File(path, 'w') as file:
    file['layers/conv2d/vars/0'] = np.zeros(3)
  with pytest.raises(UserError, match='no layers with names; save it with save_weights'):
    read(str(path), 'densenet121')


@pytest.mark.parametrize('source', ['x.pth', 'x.h5', 'x.keras', 'folder', 'ImageNet'])
def test_unknown_extension_is_rejected(source):
  with pytest.raises(UserError, match=r'choose imagenet, a \.weights\.h5 file'):
    read(source, 'densenet121')


def test_backbone_without_weights_is_rejected():
  with pytest.raises(UserError, match="'resnet8'; choose one of: densenet121, "):
    read('imagenet', 'resnet8')


@pytest.mark.parametrize(
  ('source', 'backbone', 'instead'),
  [
    ('imagenet', 'resnet50_v1_5', 'resnet50, '),
    ('x.weights.h5', 'vit_b16', 'densenet121, '),
    ('x.safetensors', 'resnet50', 'resnet50_v1_5, '),
    ('x.safetensors', 'mobilenet_v2', 'mobilenet_v2_torch, '),
    ('x.safetensors', 'inception_v3', 'inception_v3_torch, '),
  ],
)
def test_weights_with_other_paddings_are_rejected(source, backbone, instead):
  with pytest.raises(UserError, match=f'do not match {backbone}, .*{instead}'):
    read(source, backbone)


@pytest.mark.parametrize(
  ('name', 'package'), [('x.weights.h5', 'h5py'), ('x.safetensors', 'safetensors')]
)
def test_missing_package_is_reported(tmp_path, monkeypatch, name, package):
  monkeypatch.setitem(sys.modules, package, None)
  (tmp_path / name).touch()
  message = rf"needs the package {package}: pip install 'mecl-jax\[pretrained\]'"
  with pytest.raises(UserError, match=message):
    read(str(tmp_path / name), 'densenet121')


@pytest.fixture
def keras():
  return pytest.importorskip('keras', reason='as h5py')


def test_imagenet_uses_keras_applications(keras, monkeypatch):
  def fetch(weights):
    assert weights == 'imagenet'
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name='predictions')])
    network.layers[-1].set_weights([np.full((3, 2), 7.0), np.zeros(2)])
    return network

  monkeypatch.setattr(keras.applications, 'MobileNet', fetch)
  arrays = read('imagenet', 'mobilenet_v1')
  np.testing.assert_array_equal(arrays['predictions.kernel'], np.full((3, 2), 7))


def test_failed_download_is_reported(keras, monkeypatch):
  def fail(message, **_):
    raise Exception(message)

  failed = functools.partial(fail, 'URL fetch failure on https://x: None -- offline')
  monkeypatch.setattr(keras.applications, 'ResNet50', failed)
  with pytest.raises(UserError, match=r'download of ResNet50 failed.*offline.*path of a file'):
    read('imagenet', 'resnet50')
  monkeypatch.setattr(keras.applications, 'ResNet50', functools.partial(fail, 'another'))
  with pytest.raises(Exception, match='another') as caught:
    read('imagenet', 'resnet50')
  assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize(
  ('source', 'backbone', 'expected'),
  [
    ('imagenet', 'densenet169', 'torch'),
    ('imagenet', 'mobilenet_v1', 'tf'),
    ('a.weights.h5', 'mobilenet_v2', 'tf'),
    ('imagenet', 'resnet101', 'caffe'),
    ('imagenet', 'inception_v3', 'tf'),
    ('imagenet', 'efficientnet_b0', 'torch'),
    ('a.safetensors', 'densenet121', 'torch'),
    ('a.safetensors', 'mobilenet_v1_torch', 'tf'),
    ('a.safetensors', 'mobilenet_v2_torch', 'torch'),
    ('a.safetensors', 'resnet50_v1_5', 'torch'),
    ('a.safetensors', 'inception_v3_torch', 'tf'),
    ('a.safetensors', 'efficientnet_b0', 'torch'),
    ('a.safetensors', 'efficientnet_lite0', 'tf'),
    ('a.safetensors', 'vit_b16', 'tf'),
  ],
)
def test_style_of_each_source(source, backbone, expected):
  assert style(source, backbone) == expected


@pytest.mark.parametrize(
  ('name', 'module'), [('caffe', 'resnet'), ('tf', 'mobilenet'), ('torch', 'densenet')]
)
def test_styles_equal_those_of_keras(keras, name, module):
  pixels = np.float32([[[0, 100, 255], [1, 2, 3]]])
  expected = np.array(getattr(keras.applications, module).preprocess_input(pixels.copy()))
  if name == 'caffe':
    expected = expected[..., ::-1]  # ours take red, green, blue
  mean, std = np.float32(STYLES[name])
  np.testing.assert_allclose((pixels / 255 - mean) / std, expected, rtol=1e-5, atol=1e-5)
