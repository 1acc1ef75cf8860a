"""Tests of layouts with small arrays that are written out by hand."""

import functools

from flax import nnx
import numpy as np
import pytest

from mecl_jax.models.pretrained import convert
from tests.models.networks import build


@functools.cache
def abstract(backbone):
  settings = {'backbone': backbone, 'exits': (), 'image_shape': (64, 64, 3), 'width': 16}
  return nnx.eval_shape(lambda: build(**settings))


def converted(backbone, source='x.safetensors', **raw):
  """Converts arrays; two underscores in a keyword stand for a dot in a name."""
  raw = {name.replace('__', '.'): np.asarray(value) for name, value in raw.items()}
  return convert(raw, abstract(backbone), source, backbone)


def test_convolution_of_pytorch():
  weight = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # out, in, height, width
  kernel = converted('resnet50_v1_5', conv1__weight=weight)['stem.conv.conv.kernel']
  assert kernel.shape == (4, 5, 3, 2)
  for out, into, row, column in ((1, 0, 2, 3), (0, 2, 3, 4)):
    assert kernel[row, column, into, out] == 60 * out + 20 * into + 5 * row + column


def test_depthwise_convolution_of_pytorch():
  weight = np.arange(6 * 4).reshape(6, 1, 2, 2)  # channel, 1, height, width
  raw = {'blocks__0__0__conv_dw__weight': weight}
  kernel = converted('mobilenet_v1_torch', **raw)['stage1_block1.depthwise.conv.kernel']
  assert kernel.shape == (2, 2, 1, 6)
  np.testing.assert_array_equal(kernel[:, :, 0, 5], [[20, 21], [22, 23]])


def test_dense_layer_of_pytorch():
  raw = {'fc__weight': [[1, 2, 3], [4, 5, 6]], 'fc__bias': [7, 8]}  # out, in
  arrays = converted('resnet50_v1_5', **raw)
  np.testing.assert_array_equal(arrays['heads.final.linear.kernel'], [[1, 4], [2, 5], [3, 6]])
  np.testing.assert_array_equal(arrays['heads.final.linear.bias'], [7, 8])


def test_batch_norm_of_pytorch():
  raw = {'bn1__weight': [1], 'bn1__bias': [2], 'bn1__running_mean': [3], 'bn1__running_var': [4]}
  arrays = converted('resnet50_v1_5', **raw, bn1__num_batches_tracked=5)
  assert {name.rpartition('.')[2]: array.item() for name, array in arrays.items()} == {
    'scale': 1, 'bias': 2, 'mean': 3, 'var': 4,
  }  # fmt: skip


def test_1x1_convolution_becomes_dense_layer():
  raw = {'blocks__0__0__se__conv_reduce__weight': [[[[1]], [[2]]], [[[3]], [[4]]], [[[5]], [[6]]]]}
  arrays = converted('efficientnet_b0_torch', **raw)  # 3 out, 2 in
  kernel = arrays['stage1_block1.squeeze.reduce.kernel']
  np.testing.assert_array_equal(kernel, [[1, 3, 5], [2, 4, 6]])


def test_kernels_of_keras():
  deep = np.arange(2 * 2 * 3).reshape(2, 2, 3, 1)  # height, width, channel, 1
  preds = np.arange(6).reshape(1, 1, 2, 3)  # 1, 1, in, out
  plain = np.arange(24).reshape(2, 2, 3, 2)
  raw = {'conv_dw_1__depthwise_kernel': deep, 'conv_preds__kernel': preds, 'conv1__kernel': plain}
  arrays = converted('mobilenet_v1', 'imagenet', **raw)
  kernel = arrays['stage1_block1.depthwise.conv.kernel']
  assert kernel.shape == (2, 2, 1, 3)
  np.testing.assert_array_equal(kernel[1, 0, 0], [6, 7, 8])
  np.testing.assert_array_equal(arrays['heads.final.linear.kernel'], [[0, 1, 2], [3, 4, 5]])
  np.testing.assert_array_equal(arrays['stem.conv.kernel'], plain)


def test_biases_and_channel_order_of_keras_resnets():
  kernel = np.arange(6).reshape(1, 1, 3, 2)
  raw = {
    'conv1_conv__kernel': kernel, 'conv1_conv__bias': [1.0, 2.0],
    'conv1_bn__moving_mean': [10.0, 20.0], 'conv1_bn__beta': [5.0, 6.0],
    'conv2_block1_2_conv__kernel': kernel, 'conv2_block1_2_conv__bias': [3.0, 4.0],
    'conv2_block1_2_bn__moving_mean': [0.0, 0.0], 'conv2_block1_1_bn__moving_mean': [0.0, 0.0],
    'conv2_block1_0_conv__kernel': kernel, 'conv2_block1_0_conv__bias': [7.0, 8.0],
    'conv2_block1_0_bn__moving_mean': [1.0, 1.0],
    'predictions__bias': [9.0],
  }  # fmt: skip
  arrays = {
    name: array.tolist() for name, array in converted('resnet50', 'imagenet', **raw).items()
  }
  assert arrays == {
    'stem.conv.conv.kernel': [[[[4, 5], [2, 3], [0, 1]]]],
    'stem.conv.norm.mean': [9, 18],
    'stem.conv.norm.bias': [5, 6],
    'stage1_block1.conv2.kernel': kernel.tolist(),
    'stage1_block1.norm2.mean': [-3, -4],
    'stage1_block1.norm1.mean': [0, 0],
    'stage1_block1.shortcut.conv.kernel': kernel.tolist(),
    'stage1_block1.shortcut.norm.mean': [-6, -7],
    'heads.final.linear.bias': [9],
  }


def test_position_embeddings_lose_their_batch_axis():
  arrays = converted('vit_b16', pos_embed=np.ones((1, 197, 4)), cls_token=np.ones((1, 1, 4)))
  assert arrays['stem.positions'].shape == (197, 4)
  assert arrays['stem.token'].shape == (1, 1, 4)


@pytest.mark.parametrize('name', ['conv1.weight', 'conv_stem.weight'])
def test_unused_arrays_keep_their_names(name):
  arrays = converted('densenet121', **{name: 1.0, 'AuxLogits__fc__bias': 2.0})
  assert list(arrays) == [name]


def test_distinguishes_torchvision_and_timm():
  weight = np.zeros((8, 3, 3, 3))
  for name in ('features.0.0.weight', 'conv_stem.weight'):
    assert list(converted('efficientnet_b0_torch', **{name: weight})) == ['stem.conv.kernel']
