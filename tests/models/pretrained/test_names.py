"""Tests of layer names; torch_layers.txt has those of torchvision and timm."""

import itertools
import pathlib

from flax import nnx
import numpy as np
import pytest

from mecl_jax.models import BACKBONES
from mecl_jax.models.pretrained import convert, name_of, named, tables
from mecl_jax.models.pretrained.names import their_names
from mecl_jax.models.pretrained.publishers import PUBLISHED
from tests.models.networks import build, slow_except

# A line with our backbone, the library and its name there; then layer, kind, shape of its weight.
LISTED = pathlib.Path(__file__).with_name('torch_layers.txt')
NORM = ('weight', 'bias', 'running_mean', 'running_var')


def published():
  """Returns (our backbone, library) -> name of an array -> shape."""
  result = {}
  for line in LISTED.read_text().splitlines():
    if line.startswith('#'):
      _, backbone, library, _ = line.split()
      shapes = result.setdefault((backbone, library), {})
      continue
    name, kind, sizes = line.split()
    shape = tuple(map(int, sizes.split('x')))
    if kind == 'array':
      shapes[name] = shape
    elif kind == 'norm':
      shapes |= {f'{name}.{variable}': shape for variable in NORM}
      shapes[f'{name}.num_batches_tracked'] = ()
    else:
      shapes[f'{name}.weight'] = shape
      if kind == 'biased':
        shapes[f'{name}.bias'] = shape[:1]
  return result


@pytest.mark.parametrize(
  ('backbone', 'library'),
  slow_except(('resnet18', 'mobilenet_v1_torch', 'efficientnet_lite0'), published()),
)
def test_published_names_and_shapes_match(backbone, library):
  settings = {'width': 16, 'image_shape': (224, 224, 3), 'num_classes': 1000}
  model = nnx.eval_shape(lambda: build(backbone=backbone, exits=(), **settings))
  shapes = published()[backbone, library]
  # Arrays that need no memory.
  raw = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
  found = convert(raw, model, 'x.safetensors', backbone)
  shapes = {name: array.shape for name, array in found.items()}
  assert shapes == {name: variable.shape for name, variable in named(model).items()}


# One name for each rule, copied from the lists of the publishers. If a name has several numbers,
# they are all different. The index of the stage in its backbone is 9.
EXAMPLES = {
  'DENSENET_KERAS': {
    'stem.conv.conv.kernel': 'conv1_conv.kernel',
    'stem.conv.norm.scale': 'conv1_bn.gamma',
    'stage2_block5.norm1.norm.mean': 'conv3_block5_0_bn.moving_mean',
    'stage2_block5.norm2.norm.var': 'conv3_block5_1_bn.moving_variance',
    'stage2_block5.conv1.kernel': 'conv3_block5_1_conv.kernel',
    'transition2.norm.norm.bias': 'pool3_bn.beta',
    'transition2.conv.kernel': 'pool3_conv.kernel',
    'norm.norm.scale': 'bn.gamma',
    'heads.final.linear.bias': 'predictions.bias',
  },
  'DENSENET_TORCH': {
    'stem.conv.conv.kernel': 'features.conv0.weight',
    'stem.conv.norm.scale': 'features.norm0.weight',
    'stage3_block5.norm2.norm.mean': 'features.denseblock3.denselayer5.norm2.running_mean',
    'stage3_block5.conv2.kernel': 'features.denseblock3.denselayer5.conv2.weight',
    'transition2.norm.norm.var': 'features.transition2.norm.running_var',
    'transition2.conv.kernel': 'features.transition2.conv.weight',
    'norm.norm.bias': 'features.norm5.bias',
    'heads.final.linear.kernel': 'classifier.weight',
  },
  'RESNET_KERAS': {
    'stem.conv.conv.kernel': 'conv1_conv.kernel',
    'stem.conv.norm.bias': 'conv1_bn.beta',
    'stage3_block6.conv2.kernel': 'conv4_block6_2_conv.kernel',
    'stage3_block6.norm1.scale': 'conv4_block6_1_bn.gamma',
    'stage3_block1.shortcut.conv.kernel': 'conv4_block1_0_conv.kernel',
    'stage3_block1.shortcut.norm.mean': 'conv4_block1_0_bn.moving_mean',
    'heads.final.linear.kernel': 'predictions.kernel',
  },
  'RESNET_TORCH': {
    'stem.conv.conv.kernel': 'conv1.weight',
    'stem.conv.norm.bias': 'bn1.bias',
    'stage3_block6.conv2.kernel': 'layer3.5.conv2.weight',
    'stage3_block6.norm1.scale': 'layer3.5.bn1.weight',
    'stage3_block1.shortcut.conv.kernel': 'layer3.0.downsample.0.weight',
    'stage3_block1.shortcut.norm.mean': 'layer3.0.downsample.1.running_mean',
    'heads.final.linear.kernel': 'fc.weight',
  },
  'MOBILENET_V1_KERAS': {
    'stem.conv.kernel': 'conv1.kernel',
    'stem.norm.scale': 'conv1_bn.gamma',
    'stage4_block5.depthwise.conv.kernel': 'conv_dw_9.depthwise_kernel',
    'stage4_block5.depthwise.norm.mean': 'conv_dw_9_bn.moving_mean',
    'stage4_block5.pointwise.conv.kernel': 'conv_pw_9.kernel',
    'stage4_block5.pointwise.norm.var': 'conv_pw_9_bn.moving_variance',
    'heads.final.linear.kernel': 'conv_preds.kernel',
  },
  'MOBILENET_V1_TIMM': {
    'stem.conv.kernel': 'conv_stem.weight',
    'stem.norm.scale': 'bn1.weight',
    'stage4_block6.depthwise.conv.kernel': 'blocks.3.5.conv_dw.weight',
    'stage4_block6.depthwise.norm.mean': 'blocks.3.5.bn1.running_mean',
    'stage4_block6.pointwise.conv.kernel': 'blocks.3.5.conv_pw.weight',
    'stage4_block6.pointwise.norm.var': 'blocks.3.5.bn2.running_var',
    'heads.final.linear.kernel': 'classifier.weight',
  },
  'MOBILENET_V2_KERAS': {
    'stem.conv.kernel': 'Conv1.kernel',
    'stem.norm.scale': 'bn_Conv1.gamma',
    'stage1_block1.depthwise.conv.kernel': 'expanded_conv_depthwise.depthwise_kernel',
    'stage1_block1.depthwise.norm.mean': 'expanded_conv_depthwise_BN.moving_mean',
    'stage1_block1.project.kernel': 'expanded_conv_project.kernel',
    'stage1_block1.norm.bias': 'expanded_conv_project_BN.beta',
    'stage4_block2.expand.conv.kernel': 'block_8_expand.kernel',
    'stage4_block2.expand.norm.mean': 'block_8_expand_BN.moving_mean',
    'stage4_block2.depthwise.conv.kernel': 'block_8_depthwise.depthwise_kernel',
    'stage4_block2.depthwise.norm.mean': 'block_8_depthwise_BN.moving_mean',
    'stage4_block2.project.kernel': 'block_8_project.kernel',
    'stage4_block2.norm.mean': 'block_8_project_BN.moving_mean',
    'top.conv.kernel': 'Conv_1.kernel',
    'top.norm.scale': 'Conv_1_bn.gamma',
    'heads.final.linear.kernel': 'predictions.kernel',
  },
  'MOBILENET_V2_TORCHVISION': {
    'stem.conv.kernel': 'features.0.0.weight',
    'stem.norm.scale': 'features.0.1.weight',
    'stage1_block1.depthwise.conv.kernel': 'features.9.conv.0.0.weight',
    'stage1_block1.depthwise.norm.mean': 'features.9.conv.0.1.running_mean',
    'stage1_block1.project.kernel': 'features.9.conv.1.weight',
    'stage1_block1.norm.bias': 'features.9.conv.2.bias',
    'stage4_block2.expand.conv.kernel': 'features.9.conv.0.0.weight',
    'stage4_block2.expand.norm.mean': 'features.9.conv.0.1.running_mean',
    'stage4_block2.depthwise.conv.kernel': 'features.9.conv.1.0.weight',
    'stage4_block2.depthwise.norm.mean': 'features.9.conv.1.1.running_mean',
    'stage4_block2.project.kernel': 'features.9.conv.2.weight',
    'stage4_block2.norm.mean': 'features.9.conv.3.running_mean',
    'top.conv.kernel': 'features.9.0.weight',
    'top.norm.scale': 'features.9.1.weight',
    'heads.final.linear.kernel': 'classifier.1.weight',
  },
  'EFFICIENTNET_KERAS': {
    'stem.conv.kernel': 'stem_conv.kernel',
    'stem.norm.scale': 'stem_bn.gamma',
    'stage6_block4.expand.conv.kernel': 'block6d_expand_conv.kernel',
    'stage6_block4.expand.norm.mean': 'block6d_expand_bn.moving_mean',
    'stage6_block4.depthwise.conv.kernel': 'block6d_dwconv.depthwise_kernel',
    'stage6_block4.depthwise.norm.mean': 'block6d_bn.moving_mean',
    'stage6_block4.squeeze.reduce.bias': 'block6d_se_reduce.bias',
    'stage6_block4.squeeze.expand.kernel': 'block6d_se_expand.kernel',
    'stage6_block4.project.kernel': 'block6d_project_conv.kernel',
    'stage6_block4.norm.var': 'block6d_project_bn.moving_variance',
    'top.conv.kernel': 'top_conv.kernel',
    'top.norm.scale': 'top_bn.gamma',
    'heads.final.linear.kernel': 'predictions.kernel',
  },
  'EFFICIENTNET_TORCHVISION': {
    'stem.conv.kernel': 'features.0.0.weight',
    'stem.norm.scale': 'features.0.1.weight',
    'stage1_block1.depthwise.conv.kernel': 'features.1.0.block.0.0.weight',
    'stage1_block1.depthwise.norm.mean': 'features.1.0.block.0.1.running_mean',
    'stage1_block1.squeeze.reduce.bias': 'features.1.0.block.1.fc1.bias',
    'stage1_block1.squeeze.expand.kernel': 'features.1.0.block.1.fc2.weight',
    'stage1_block1.project.kernel': 'features.1.0.block.2.0.weight',
    'stage1_block1.norm.var': 'features.1.0.block.2.1.running_var',
    'stage6_block4.expand.conv.kernel': 'features.6.3.block.0.0.weight',
    'stage6_block4.expand.norm.mean': 'features.6.3.block.0.1.running_mean',
    'stage6_block4.depthwise.conv.kernel': 'features.6.3.block.1.0.weight',
    'stage6_block4.depthwise.norm.mean': 'features.6.3.block.1.1.running_mean',
    'stage6_block4.squeeze.reduce.bias': 'features.6.3.block.2.fc1.bias',
    'stage6_block4.squeeze.expand.kernel': 'features.6.3.block.2.fc2.weight',
    'stage6_block4.project.kernel': 'features.6.3.block.3.0.weight',
    'stage6_block4.norm.var': 'features.6.3.block.3.1.running_var',
    'top.conv.kernel': 'features.8.0.weight',
    'top.norm.scale': 'features.8.1.weight',
    'heads.final.linear.kernel': 'classifier.1.weight',
  },
  'EFFICIENTNET_LITE': {
    'stem.conv.kernel': '_conv_stem.weight',
    'stem.norm.scale': '_bn0.weight',
    'stage6_block4.expand.conv.kernel': '_blocks.8._expand_conv.weight',
    'stage6_block4.expand.norm.mean': '_blocks.8._bn0.running_mean',
    'stage6_block4.depthwise.conv.kernel': '_blocks.8._depthwise_conv.weight',
    'stage6_block4.depthwise.norm.mean': '_blocks.8._bn1.running_mean',
    'stage6_block4.project.kernel': '_blocks.8._project_conv.weight',
    'stage6_block4.norm.var': '_blocks.8._bn2.running_var',
    'top.conv.kernel': '_conv_head.weight',
    'top.norm.scale': '_bn1.weight',
    'heads.final.linear.kernel': '_fc.weight',
  },
  'INVERTED_TIMM': {
    'stem.conv.kernel': 'conv_stem.weight',
    'stem.norm.scale': 'bn1.weight',
    'stage1_block1.depthwise.conv.kernel': 'blocks.0.0.conv_dw.weight',
    'stage1_block1.depthwise.norm.mean': 'blocks.0.0.bn1.running_mean',
    'stage1_block1.squeeze.reduce.bias': 'blocks.0.0.se.conv_reduce.bias',
    'stage1_block1.project.kernel': 'blocks.0.0.conv_pw.weight',
    'stage1_block1.norm.var': 'blocks.0.0.bn2.running_var',
    'stage6_block4.expand.conv.kernel': 'blocks.5.3.conv_pw.weight',
    'stage6_block4.expand.norm.mean': 'blocks.5.3.bn1.running_mean',
    'stage6_block4.depthwise.conv.kernel': 'blocks.5.3.conv_dw.weight',
    'stage6_block4.depthwise.norm.mean': 'blocks.5.3.bn2.running_mean',
    'stage6_block4.squeeze.reduce.bias': 'blocks.5.3.se.conv_reduce.bias',
    'stage6_block4.squeeze.expand.kernel': 'blocks.5.3.se.conv_expand.weight',
    'stage6_block4.project.kernel': 'blocks.5.3.conv_pwl.weight',
    'stage6_block4.norm.var': 'blocks.5.3.bn3.running_var',
    'top.conv.kernel': 'conv_head.weight',
    'top.norm.scale': 'bn2.weight',
    'heads.final.linear.kernel': 'classifier.weight',
  },
  'VIT_TORCHVISION': {
    'stem.patches.kernel': 'conv_proj.weight',
    'stem.token': 'class_token',
    'stem.positions': 'encoder.pos_embedding',
    'block12.norm2.scale': 'encoder.layers.encoder_layer_11.ln_2.weight',
    'block12.attention.qkv.kernel': 'encoder.layers.encoder_layer_11.self_attention.in_proj_weight',
    'block12.attention.qkv.bias': 'encoder.layers.encoder_layer_11.self_attention.in_proj_bias',
    'block12.attention.out.bias': 'encoder.layers.encoder_layer_11.self_attention.out_proj.bias',
    'block12.mlp.grow.kernel': 'encoder.layers.encoder_layer_11.mlp.0.weight',
    'block12.mlp.shrink.kernel': 'encoder.layers.encoder_layer_11.mlp.3.weight',
    'norm.norm.bias': 'encoder.ln.bias',
    'heads.final.linear.kernel': 'heads.head.weight',
  },
  'VIT_TIMM': {
    'stem.patches.kernel': 'patch_embed.proj.weight',
    'stem.token': 'cls_token',
    'stem.positions': 'pos_embed',
    'block12.norm2.scale': 'blocks.11.norm2.weight',
    'block12.attention.qkv.bias': 'blocks.11.attn.qkv.bias',
    'block12.attention.out.bias': 'blocks.11.attn.proj.bias',
    'block12.mlp.grow.kernel': 'blocks.11.mlp.fc1.weight',
    'block12.mlp.shrink.kernel': 'blocks.11.mlp.fc2.weight',
    'norm.norm.bias': 'norm.bias',
    'heads.final.linear.kernel': 'head.weight',
  },
  'INCEPTION_TORCH': {
    'stem_block1.conv.kernel': 'Conv2d_1a_3x3.conv.weight',
    'stem_block3.norm.mean': 'Conv2d_2b_3x3.bn.running_mean',
    'stem_block5.conv.kernel': 'Conv2d_4a_3x3.conv.weight',
    'stage1_block3.branch3x3dbl_2.conv.kernel': 'Mixed_5d.branch3x3dbl_2.conv.weight',
    'stage2_block1.branch3x3.norm.scale': 'Mixed_6a.branch3x3.bn.weight',
    'stage2_block5.branch7x7dbl_4.norm.var': 'Mixed_6e.branch7x7dbl_4.bn.running_var',
    'stage3_block1.branch7x7x3_3.conv.kernel': 'Mixed_7a.branch7x7x3_3.conv.weight',
    'stage3_block3.branch3x3dbl_3b.norm.bias': 'Mixed_7c.branch3x3dbl_3b.bn.bias',
    'heads.final.linear.kernel': 'fc.weight',
  },
  # Keras numbers its convolutions: mixed0 begins with 5, mixed10 with 85.
  'INCEPTION_KERAS': {
    'stem_block5.conv.kernel': 'conv2d_4.kernel',
    'stage1_block1.branch1x1.conv.kernel': 'conv2d_5.kernel',
    'stage2_block1.branch3x3.norm.mean': 'batch_normalization_26.moving_mean',
    'stage3_block3.branch1x1.conv.kernel': 'conv2d_85.kernel',
    'stage3_block3.branch3x3_2a.conv.kernel': 'conv2d_87.kernel',
    'stage3_block3.branch_pool.norm.bias': 'batch_normalization_93.beta',
    'heads.final.linear.kernel': 'predictions.kernel',
  },
}  # fmt: skip


@pytest.mark.parametrize(
  ('table', 'ours', 'theirs'),
  [(table, *pair) for table, pairs in EXAMPLES.items() for pair in pairs.items()],
)
def test_each_rule_has_the_published_name(table, ours, theirs):
  positions = {ours.partition('.')[0]: 9}
  assert theirs in their_names(ours, getattr(tables, table), positions)


def test_every_table_has_examples():
  assert set(EXAMPLES) == {name for name in vars(tables) if name.isupper() and name[0] != '_'}


def test_no_rule_matches_heads_of_early_exits():
  rules = itertools.chain.from_iterable((entry.keras, *entry.torch) for entry in PUBLISHED.values())
  for table in rules:
    assert their_names('heads.stage1.linear.kernel', table, {}) == ()


def test_names_begin_with_stage_or_head():
  assert name_of(('backbone', 'stages', 'stem', 'conv', 'kernel')) == 'stem.conv.kernel'
  assert name_of(('heads', 'final', 'linear', 'bias')) == 'heads.final.linear.bias'
  names = set(named(build()))
  assert {'stem.conv.kernel', 'stage1_block1.norm2.mean', 'heads.stage2.norm.var'} <= names
  assert not {'mean', 'std'} & names


def test_published_names_are_backbones():
  assert set(PUBLISHED) <= set(BACKBONES)
