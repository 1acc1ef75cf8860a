"""Which published weights a backbone can take, and how they want their pixels."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Literal

from mecl_jax.errors import UserError, choose
from mecl_jax.models.pretrained import tables
from mecl_jax.models.pretrained.names import Rules

IMAGENET = 'imagenet'  # the weights of keras.applications
FILES = ('.weights.h5', '.safetensors')  # of Keras, and of PyTorch's publishers
Style = Literal['caffe', 'tf', 'torch']
Kind = Literal['keras', 'torch']

# Style: mean and deviation, of red, green and blue, that pixels in 0..1 are normalised with.
# 'caffe' takes ImageNet's mean off 0..255, 'tf' makes -1..1, 'torch' divides by a deviation too.
STYLES: dict[Style, tuple[tuple[float, ...], tuple[float, ...]]] = {
  'caffe': ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
  'tf': ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
  'torch': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclasses.dataclass(frozen=True)
class Published:
  """What there is for one backbone.

  Attributes:
    keras: layer names in a Keras file, if there can be one.
    torch: layer names in a PyTorch file, those of torchvision and of timm where they differ.
    application: the network's name in keras.applications.
    styles: of the pixels, for Keras's weights and for PyTorch's.
    bgr: our kernel, if any, whose input channels Keras's weights have as blue, green, red.
  """

  keras: Rules = ()
  torch: tuple[Rules, ...] = ()
  application: str = ''
  styles: Mapping[Kind, Style] = dataclasses.field(default_factory=dict)
  bgr: str = ''

  def rules(self, kind: Kind) -> tuple[Rules, ...]:
    """The tables of names to choose from, () where a backbone takes no such weights."""
    return self.torch if kind == 'torch' else (self.keras,) * bool(self.keras)


def _keras(rules: Rules, application: str, style: Style, bgr: str = '') -> Published:
  return Published(keras=rules, application=application, styles={'keras': style}, bgr=bgr)


def _torch(*rules: Rules, style: Style = 'torch') -> Published:
  return Published(torch=rules, styles={'torch': style})


def _both(keras: Published, torch: Published) -> Published:
  return dataclasses.replace(keras, torch=torch.torch, styles={**keras.styles, **torch.styles})


def _densenet(application: str) -> Published:
  return _both(_keras(tables.DENSENET_KERAS, application, 'torch'), _torch(tables.DENSENET_TORCH))


def _resnet(application: str) -> Published:
  return _keras(tables.RESNET_KERAS, application, 'caffe', bgr='stem.conv.conv.kernel')


# Styles of PyTorch's weights are those of most, or of the first, that timm and torchvision publish:
# timm's MobileNet v1, InceptionV3 and vision transformers want -1..1.
PUBLISHED: dict[str, Published] = {
  'densenet121': _densenet('DenseNet121'),
  'densenet169': _densenet('DenseNet169'),
  'densenet201': _densenet('DenseNet201'),
  'mobilenet_v1': _keras(tables.MOBILENET_V1_KERAS, 'MobileNet', 'tf'),
  'mobilenet_v1_torch': _torch(tables.MOBILENET_V1_TIMM, style='tf'),
  'mobilenet_v2': _keras(tables.MOBILENET_V2_KERAS, 'MobileNetV2', 'tf'),
  'mobilenet_v2_torch': _torch(tables.MOBILENET_V2_TORCHVISION, tables.INVERTED_TIMM),
  'resnet18': _torch(tables.RESNET_TORCH),
  'resnet34': _torch(tables.RESNET_TORCH),
  'resnet50': _resnet('ResNet50'),
  'resnet101': _resnet('ResNet101'),
  'resnet152': _resnet('ResNet152'),
  'resnet50_v1_5': _torch(tables.RESNET_TORCH),
  'resnet101_v1_5': _torch(tables.RESNET_TORCH),
  'resnet152_v1_5': _torch(tables.RESNET_TORCH),
  'inception_v3': _keras(tables.INCEPTION_KERAS, 'InceptionV3', 'tf'),
  # timm counts the padding in averages with TensorFlow's weights too, inception_v3.tf_in1k.
  'inception_v3_torch': _torch(tables.INCEPTION_TORCH, style='tf'),
  # In PyTorch the weights of TensorFlow, which timm has as tf_efficientnet_b0.
  'efficientnet_b0': _both(
    _keras(tables.EFFICIENTNET_KERAS, 'EfficientNetB0', 'torch'), _torch(tables.INVERTED_TIMM)
  ),
  'efficientnet_b0_torch': _torch(tables.EFFICIENTNET_TORCHVISION, tables.INVERTED_TIMM),
  'vit_ti16': _torch(tables.VIT_TIMM, style='tf'),
  'vit_s16': _torch(tables.VIT_TIMM, style='tf'),
  'vit_b16': _torch(tables.VIT_TORCHVISION, tables.VIT_TIMM, style='tf'),
}


def published(backbone: str) -> Published:
  """What there is for a backbone.

  Raises:
    UserError: nothing.
  """
  return PUBLISHED[choose('model.backbone with model.pretrained', backbone, PUBLISHED)]


def kind_of(source: str, backbone: str) -> Kind:
  """Whether a source has Keras's names or PyTorch's; nothing is opened.

  Args:
    source: 'imagenet', or the path of a .weights.h5 or a .safetensors file.
    backbone: that is to take its weights.

  Raises:
    UserError: another extension, or the backbone is none for such weights.
  """
  kind: Kind
  name = pathlib.Path(source).name
  keras, torch = FILES
  if source == IMAGENET or name.endswith(keras):
    kind = 'keras'
  elif name.endswith(torch):
    kind = 'torch'
  else:
    raise UserError(
      f'model.pretrained is {source!r}; choose imagenet or a file .weights.h5 of Keras 3 or'
      ' .safetensors of torchvision or timm'
    )
  if not published(backbone).rules(kind):
    others = ', '.join(name for name, entry in PUBLISHED.items() if entry.rules(kind))
    raise UserError(
      f'model.pretrained={source}: {backbone} takes no weights of this kind, since its paddings or'
      f' strides are not theirs; they are for model.backbone={others}'
    )
  return kind


def style(source: str, backbone: str) -> Style:
  """How the weights of a source want their pixels, a key of `STYLES`; nothing is opened.

  For a PyTorch file it is what most published weights of the backbone want; others need
  `model.preprocessing`.

  Raises:
    UserError: as of `kind_of`.
  """
  return published(backbone).styles[kind_of(source, backbone)]
