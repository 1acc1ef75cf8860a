"""Published weights of each backbone, and their preprocessing."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Literal

from mecl_jax.errors import UserError, choose
from mecl_jax.models.pretrained import tables
from mecl_jax.models.pretrained.names import Rules

IMAGENET = 'imagenet'  # the weights of keras.applications
FILES = ('.weights.h5', '.safetensors')  # of Keras, and of torchvision and timm
Style = Literal['caffe', 'tf', 'torch']
Kind = Literal['keras', 'torch']

# style: mean and standard deviation of red, green and blue, to normalise pixel values in 0..1.
# 'caffe' subtracts the mean of ImageNet from 0..255, 'tf' scales to -1..1, and 'torch' subtracts
# the mean of ImageNet and divides by its standard deviation.
STYLES: dict[Style, tuple[tuple[float, ...], tuple[float, ...]]] = {
  'caffe': ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
  'tf': ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
  'torch': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclasses.dataclass(frozen=True)
class Published:
  """The published weights of one backbone.

  Attributes:
    keras: layer names in a Keras file; empty if Keras publishes no weights.
    torch: layer names in a PyTorch file; two tables if those of torchvision and timm differ.
    application: name of the network in keras.applications.
    styles: preprocessing style of the weights of each kind, a key of `STYLES`.
    bgr: name of the kernel whose input channels are blue, green, red in the weights of Keras; '' if
      there is none.
  """

  keras: Rules = ()
  torch: tuple[Rules, ...] = ()
  application: str = ''
  styles: Mapping[Kind, Style] = dataclasses.field(default_factory=dict)
  bgr: str = ''

  def rules(self, kind: Kind) -> tuple[Rules, ...]:
    """Returns the possible tables of layer names; () if there are no weights of this kind."""
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


# The style of PyTorch weights is that of most weights, or of the first, that timm and torchvision
# publish: MobileNet v1, InceptionV3 and vision transformers of timm need -1..1.
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
  # timm includes the padding in averages with the weights of TensorFlow too, inception_v3.tf_in1k.
  'inception_v3_torch': _torch(tables.INCEPTION_TORCH, style='tf'),
  # The PyTorch file has the weights of TensorFlow, tf_efficientnet_b0 of timm.
  'efficientnet_b0': _both(
    _keras(tables.EFFICIENTNET_KERAS, 'EfficientNetB0', 'torch'), _torch(tables.INVERTED_TIMM)
  ),
  'efficientnet_b0_torch': _torch(tables.EFFICIENTNET_TORCHVISION, tables.INVERTED_TIMM),
  **dict.fromkeys(
    ('efficientnet_lite0', 'efficientnet_lite1', 'efficientnet_lite2'),
    _torch(tables.EFFICIENTNET_LITE, tables.INVERTED_TIMM, style='tf'),
  ),
  'vit_ti16': _torch(tables.VIT_TIMM, style='tf'),
  'vit_s16': _torch(tables.VIT_TIMM, style='tf'),
  'vit_b16': _torch(tables.VIT_TORCHVISION, tables.VIT_TIMM, style='tf'),
}


def published(backbone: str) -> Published:
  """Returns the published weights of a backbone.

  Raises:
    UserError: there are none.
  """
  return PUBLISHED[choose('model.backbone with model.pretrained', backbone, PUBLISHED)]


def kind_of(source: str, backbone: str) -> Kind:
  """Returns whether a source has the layer names of Keras or of PyTorch; opens no file.

  Args:
    source: 'imagenet', or the path of a .weights.h5 or a .safetensors file.
    backbone: name of the backbone that gets the weights.

  Raises:
    UserError: the file has another extension, or the backbone has no weights of this kind.
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
      f'model.pretrained is {source!r}; choose imagenet, a .weights.h5 file of Keras 3, or a'
      ' .safetensors file of torchvision or timm'
    )
  if not published(backbone).rules(kind):
    others = ', '.join(name for name, entry in PUBLISHED.items() if entry.rules(kind))
    raise UserError(
      f'model.pretrained={source}: weights of this kind do not match {backbone}, which has other'
      f' paddings or strides; choose model.backbone from: {others}'
    )
  return kind


def style(source: str, backbone: str) -> Style:
  """Returns the preprocessing style of the weights of a source; opens no file.

  For a PyTorch file it is the style of most published weights of the backbone. Other weights need
  another value of `model.preprocessing`.

  Args:
    source, backbone: see `kind_of`.

  Returns:
    a key of `STYLES`.

  Raises:
    UserError: see `kind_of`.
  """
  return published(backbone).styles[kind_of(source, backbone)]
