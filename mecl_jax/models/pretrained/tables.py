"""Layer names of our backbones in Keras, torchvision and timm.

There are tables for each family of backbones; they are valid for any width and number of blocks.
`names` explains the braces. Tables named TORCH are valid for both torchvision and timm.
"""

from collections.abc import Iterator

from mecl_jax.models.pretrained.names import Rules

DENSENET_KERAS: Rules = (
  ('stem.conv.conv', 'conv1_conv'),
  ('stem.conv.norm', 'conv1_bn'),
  # Keras gives the first norm of a block number 0, and the others that of the convolution before.
  ('stage{g}_block{b}.norm1.norm', 'conv{g+1}_block{b}_0_bn'),
  ('stage{g}_block{b}.norm2.norm', 'conv{g+1}_block{b}_1_bn'),
  ('stage{g}_block{b}.conv{i}', 'conv{g+1}_block{b}_{i}_conv'),
  ('transition{g}.norm.norm', 'pool{g+1}_bn'),
  ('transition{g}.conv', 'pool{g+1}_conv'),
  ('norm.norm', 'bn'),
  ('heads.final.linear', 'predictions'),
)
DENSENET_TORCH: Rules = (
  ('stem.conv.conv', 'features.conv0'),
  ('stem.conv.norm', 'features.norm0'),
  ('stage{g}_block{b}.norm{i}.norm', 'features.denseblock{g}.denselayer{b}.norm{i}'),
  ('stage{g}_block{b}.conv{i}', 'features.denseblock{g}.denselayer{b}.conv{i}'),
  ('transition{g}.norm.norm', 'features.transition{g}.norm'),
  ('transition{g}.conv', 'features.transition{g}.conv'),
  ('norm.norm', 'features.norm5'),
  ('heads.final.linear', 'classifier'),
)

RESNET_KERAS: Rules = (
  ('stem.conv.conv', 'conv1_conv'),
  ('stem.conv.norm', 'conv1_bn'),
  ('stage{g}_block{b}.conv{i}', 'conv{g+1}_block{b}_{i}_conv'),
  ('stage{g}_block{b}.norm{i}', 'conv{g+1}_block{b}_{i}_bn'),
  ('stage{g}_block{b}.shortcut.conv', 'conv{g+1}_block{b}_0_conv'),
  ('stage{g}_block{b}.shortcut.norm', 'conv{g+1}_block{b}_0_bn'),
  ('heads.final.linear', 'predictions'),
)
RESNET_TORCH: Rules = (
  ('stem.conv.conv', 'conv1'),
  ('stem.conv.norm', 'bn1'),
  ('stage{g}_block{b}.conv{i}', 'layer{g}.{b-1}.conv{i}'),
  ('stage{g}_block{b}.norm{i}', 'layer{g}.{b-1}.bn{i}'),
  ('stage{g}_block{b}.shortcut.conv', 'layer{g}.{b-1}.downsample.0'),
  ('stage{g}_block{b}.shortcut.norm', 'layer{g}.{b-1}.downsample.1'),
  ('heads.final.linear', 'fc'),
)

MOBILENET_V1_KERAS: Rules = (
  ('stem.conv', 'conv1'),
  ('stem.norm', 'conv1_bn'),
  ('stage{g}_block{b}.depthwise.conv', 'conv_dw_{position}'),
  ('stage{g}_block{b}.depthwise.norm', 'conv_dw_{position}_bn'),
  ('stage{g}_block{b}.pointwise.conv', 'conv_pw_{position}'),
  ('stage{g}_block{b}.pointwise.norm', 'conv_pw_{position}_bn'),
  ('heads.final.linear', 'conv_preds'),
)
MOBILENET_V1_TIMM: Rules = (
  ('stem.conv', 'conv_stem'),
  ('stem.norm', 'bn1'),
  ('stage{g}_block{b}.depthwise.conv', 'blocks.{g-1}.{b-1}.conv_dw'),
  ('stage{g}_block{b}.depthwise.norm', 'blocks.{g-1}.{b-1}.bn1'),
  ('stage{g}_block{b}.pointwise.conv', 'blocks.{g-1}.{b-1}.conv_pw'),
  ('stage{g}_block{b}.pointwise.norm', 'blocks.{g-1}.{b-1}.bn2'),
  ('heads.final.linear', 'classifier'),
)

MOBILENET_V2_KERAS: Rules = (
  ('stem.conv', 'Conv1'),
  ('stem.norm', 'bn_Conv1'),
  ('stage1_block1.depthwise.conv', 'expanded_conv_depthwise'),
  ('stage1_block1.depthwise.norm', 'expanded_conv_depthwise_BN'),
  ('stage1_block1.project', 'expanded_conv_project'),
  ('stage1_block1.norm', 'expanded_conv_project_BN'),
  ('stage{g}_block{b}.expand.conv', 'block_{position-1}_expand'),
  ('stage{g}_block{b}.expand.norm', 'block_{position-1}_expand_BN'),
  ('stage{g}_block{b}.depthwise.conv', 'block_{position-1}_depthwise'),
  ('stage{g}_block{b}.depthwise.norm', 'block_{position-1}_depthwise_BN'),
  ('stage{g}_block{b}.project', 'block_{position-1}_project'),
  ('stage{g}_block{b}.norm', 'block_{position-1}_project_BN'),
  ('top.conv', 'Conv_1'),
  ('top.norm', 'Conv_1_bn'),
  ('heads.final.linear', 'predictions'),
)
MOBILENET_V2_TORCHVISION: Rules = (
  ('stem.conv', 'features.0.0'),
  ('stem.norm', 'features.0.1'),
  # The first group has no expansion, so the numbers of its other layers are lower by one.
  ('stage1_block{b}.depthwise.conv', 'features.{position}.conv.0.0'),
  ('stage1_block{b}.depthwise.norm', 'features.{position}.conv.0.1'),
  ('stage1_block{b}.project', 'features.{position}.conv.1'),
  ('stage1_block{b}.norm', 'features.{position}.conv.2'),
  ('stage{g}_block{b}.expand.conv', 'features.{position}.conv.0.0'),
  ('stage{g}_block{b}.expand.norm', 'features.{position}.conv.0.1'),
  ('stage{g}_block{b}.depthwise.conv', 'features.{position}.conv.1.0'),
  ('stage{g}_block{b}.depthwise.norm', 'features.{position}.conv.1.1'),
  ('stage{g}_block{b}.project', 'features.{position}.conv.2'),
  ('stage{g}_block{b}.norm', 'features.{position}.conv.3'),
  ('top.conv', 'features.{position}.0'),
  ('top.norm', 'features.{position}.1'),
  ('heads.final.linear', 'classifier.1'),
)

EFFICIENTNET_KERAS: Rules = (
  ('stem.conv', 'stem_conv'),
  ('stem.norm', 'stem_bn'),
  ('stage{g}_block{b}.expand.conv', 'block{g}{letter b}_expand_conv'),
  ('stage{g}_block{b}.expand.norm', 'block{g}{letter b}_expand_bn'),
  ('stage{g}_block{b}.depthwise.conv', 'block{g}{letter b}_dwconv'),
  ('stage{g}_block{b}.depthwise.norm', 'block{g}{letter b}_bn'),
  ('stage{g}_block{b}.squeeze.reduce', 'block{g}{letter b}_se_reduce'),
  ('stage{g}_block{b}.squeeze.expand', 'block{g}{letter b}_se_expand'),
  ('stage{g}_block{b}.project', 'block{g}{letter b}_project_conv'),
  ('stage{g}_block{b}.norm', 'block{g}{letter b}_project_bn'),
  ('top.conv', 'top_conv'),
  ('top.norm', 'top_bn'),
  ('heads.final.linear', 'predictions'),
)
EFFICIENTNET_TORCHVISION: Rules = (
  ('stem.conv', 'features.0.0'),
  ('stem.norm', 'features.0.1'),
  ('stage1_block{b}.depthwise.conv', 'features.1.{b-1}.block.0.0'),
  ('stage1_block{b}.depthwise.norm', 'features.1.{b-1}.block.0.1'),
  ('stage1_block{b}.squeeze.reduce', 'features.1.{b-1}.block.1.fc1'),
  ('stage1_block{b}.squeeze.expand', 'features.1.{b-1}.block.1.fc2'),
  ('stage1_block{b}.project', 'features.1.{b-1}.block.2.0'),
  ('stage1_block{b}.norm', 'features.1.{b-1}.block.2.1'),
  ('stage{g}_block{b}.expand.conv', 'features.{g}.{b-1}.block.0.0'),
  ('stage{g}_block{b}.expand.norm', 'features.{g}.{b-1}.block.0.1'),
  ('stage{g}_block{b}.depthwise.conv', 'features.{g}.{b-1}.block.1.0'),
  ('stage{g}_block{b}.depthwise.norm', 'features.{g}.{b-1}.block.1.1'),
  ('stage{g}_block{b}.squeeze.reduce', 'features.{g}.{b-1}.block.2.fc1'),
  ('stage{g}_block{b}.squeeze.expand', 'features.{g}.{b-1}.block.2.fc2'),
  ('stage{g}_block{b}.project', 'features.{g}.{b-1}.block.3.0'),
  ('stage{g}_block{b}.norm', 'features.{g}.{b-1}.block.3.1'),
  ('top.conv', 'features.8.0'),
  ('top.norm', 'features.8.1'),
  ('heads.final.linear', 'classifier.1'),
)
# For MobileNetV2 and EfficientNet; only the latter has the squeeze.
INVERTED_TIMM: Rules = (
  ('stem.conv', 'conv_stem'),
  ('stem.norm', 'bn1'),
  # The first group has no expansion. Its projection has the name that the expansion has in other
  # groups, and the numbers of its norms are lower by one.
  ('stage1_block{b}.depthwise.conv', 'blocks.0.{b-1}.conv_dw'),
  ('stage1_block{b}.depthwise.norm', 'blocks.0.{b-1}.bn1'),
  ('stage1_block{b}.project', 'blocks.0.{b-1}.conv_pw'),
  ('stage1_block{b}.norm', 'blocks.0.{b-1}.bn2'),
  ('stage{g}_block{b}.expand.conv', 'blocks.{g-1}.{b-1}.conv_pw'),
  ('stage{g}_block{b}.expand.norm', 'blocks.{g-1}.{b-1}.bn1'),
  ('stage{g}_block{b}.depthwise.conv', 'blocks.{g-1}.{b-1}.conv_dw'),
  ('stage{g}_block{b}.depthwise.norm', 'blocks.{g-1}.{b-1}.bn2'),
  ('stage{g}_block{b}.squeeze.reduce', 'blocks.{g-1}.{b-1}.se.conv_reduce'),
  ('stage{g}_block{b}.squeeze.expand', 'blocks.{g-1}.{b-1}.se.conv_expand'),
  ('stage{g}_block{b}.project', 'blocks.{g-1}.{b-1}.conv_pwl'),
  ('stage{g}_block{b}.norm', 'blocks.{g-1}.{b-1}.bn3'),
  ('top.conv', 'conv_head'),
  ('top.norm', 'bn2'),
  ('heads.final.linear', 'classifier'),
)
# EfficientNet-Lite as it is published for PyTorch, with the names of TensorFlow.
EFFICIENTNET_LITE: Rules = (
  ('stem.conv', '_conv_stem'),
  ('stem.norm', '_bn0'),
  ('stage{g}_block{b}.expand.conv', '_blocks.{position-1}._expand_conv'),
  ('stage{g}_block{b}.expand.norm', '_blocks.{position-1}._bn0'),
  ('stage{g}_block{b}.depthwise.conv', '_blocks.{position-1}._depthwise_conv'),
  ('stage{g}_block{b}.depthwise.norm', '_blocks.{position-1}._bn1'),
  ('stage{g}_block{b}.project', '_blocks.{position-1}._project_conv'),
  ('stage{g}_block{b}.norm', '_blocks.{position-1}._bn2'),
  ('top.conv', '_conv_head'),
  ('top.norm', '_bn1'),
  ('heads.final.linear', '_fc'),
)

_LAYER = 'encoder.layers.encoder_layer_{b-1}'
VIT_TORCHVISION: Rules = (
  ('stem.patches', 'conv_proj'),
  ('stem.token', 'class_token'),
  ('stem.positions', 'encoder.pos_embedding'),
  ('block{b}.norm{i}', _LAYER + '.ln_{i}'),
  ('block{b}.attention.qkv.kernel', _LAYER + '.self_attention.in_proj_weight'),
  ('block{b}.attention.qkv.bias', _LAYER + '.self_attention.in_proj_bias'),
  ('block{b}.attention.out', _LAYER + '.self_attention.out_proj'),
  ('block{b}.mlp.grow', _LAYER + '.mlp.0'),
  ('block{b}.mlp.shrink', _LAYER + '.mlp.3'),
  ('norm.norm', 'encoder.ln'),
  ('heads.final.linear', 'heads.head'),
)
VIT_TIMM: Rules = (
  ('stem.patches', 'patch_embed.proj'),
  ('stem.token', 'cls_token'),
  ('stem.positions', 'pos_embed'),
  ('block{b}.norm{i}', 'blocks.{b-1}.norm{i}'),
  ('block{b}.attention.qkv', 'blocks.{b-1}.attn.qkv'),
  ('block{b}.attention.out', 'blocks.{b-1}.attn.proj'),
  ('block{b}.mlp.grow', 'blocks.{b-1}.mlp.fc1'),
  ('block{b}.mlp.shrink', 'blocks.{b-1}.mlp.fc2'),
  ('norm.norm', 'norm'),
  ('heads.final.linear', 'head'),
)

# Branches of Inception's blocks, in the order in which Keras creates their convolutions.
_A = 'branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool'
_B = 'branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3'
_C = (
  'branch1x1 branch7x7_1 branch7x7_2 branch7x7_3'
  ' branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5 branch_pool'
)
_D = 'branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4'
_E = (
  'branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b'
  ' branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a branch3x3dbl_3b branch_pool'
)
_INCEPTION = (  # our stage, the name in PyTorch, branches
  ('stem_block1', 'Conv2d_1a_3x3', ''),
  ('stem_block2', 'Conv2d_2a_3x3', ''),
  ('stem_block3', 'Conv2d_2b_3x3', ''),
  ('stem_block4', 'Conv2d_3b_1x1', ''),
  ('stem_block5', 'Conv2d_4a_3x3', ''),
  ('stage1_block1', 'Mixed_5b', _A),
  ('stage1_block2', 'Mixed_5c', _A),
  ('stage1_block3', 'Mixed_5d', _A),
  ('stage2_block1', 'Mixed_6a', _B),
  ('stage2_block2', 'Mixed_6b', _C),
  ('stage2_block3', 'Mixed_6c', _C),
  ('stage2_block4', 'Mixed_6d', _C),
  ('stage2_block5', 'Mixed_6e', _C),
  ('stage3_block1', 'Mixed_7a', _D),
  ('stage3_block2', 'Mixed_7b', _E),
  ('stage3_block3', 'Mixed_7c', _E),
)


def _inception_layers() -> Iterator[tuple[str, str]]:
  """Yields our name and PyTorch's name of every convolution with its norm, in Keras's order."""
  for ours, theirs, branches in _INCEPTION:
    for branch in branches.split() or ['']:
      yield f'{ours}.{branch}'.rstrip('.'), f'{theirs}.{branch}'.rstrip('.')


def _inception_keras() -> Iterator[tuple[str, str]]:
  for index, (ours, _) in enumerate(_inception_layers()):
    yield f'{ours}.conv', f'conv2d_{index}'
    yield f'{ours}.norm', f'batch_normalization_{index}'
  yield 'heads.final.linear', 'predictions'


def _inception_torch() -> Iterator[tuple[str, str]]:
  for ours, theirs in _inception_layers():
    yield f'{ours}.conv', f'{theirs}.conv'
    yield f'{ours}.norm', f'{theirs}.bn'
  yield 'heads.final.linear', 'fc'


INCEPTION_KERAS: Rules = tuple(_inception_keras())
INCEPTION_TORCH: Rules = tuple(_inception_torch())
