"""Compares our backbones with the networks whose weights they load.

  pip install 'mecl-jax[pretrained]'          # and torch with torchvision, timm or
                                              # efficientnet-lite-pytorch for the others
  python experiments/pretrained_agreement.py [--source=keras|torchvision|timm|lite]
    [--backbones=a,b,..]

Nothing is downloaded. The original network gets random kernels, scales and biases, and its batch
norms take the statistics of two random images, so that all arrays differ and activations neither
vanish nor explode. It is written to a file, which `models.pretrained` reads into our network, and
both classify the same two images in float32. Printed for each image size: the greatest difference
of a logit between the networks, and the greatest difference between the two images, both relative
to the greatest logit. If the images did not differ, agreement would mean little.

Exits with 1 where the first is above 1e-4 or the second below 0.01.
"""

import argparse
from collections.abc import Callable, Iterator
import os
import pathlib
import sys
import tempfile

import jax
import numpy as np

from mecl_jax import models
from mecl_jax.compiler import compiler_options
from mecl_jax.models import pretrained

LIMIT = 1e-4
MEANINGFUL = 0.01  # difference between images, at least
# Mean of the random biases. With a mean of 0 a deep network amplifies rounding beyond the limit:
# ResNet-101 in PyTorch differs by 1e-4 between float32 and float64.
BIAS = 0.5
CLASSES = 1000
SIZES = {'inception_v3': (299, 203)}  # pixels; odd feature maps and even ones
USUAL_SIZES = (224, 160)
# Our name -> the name in torchvision or timm.
TORCHVISION = {
  'densenet121': 'densenet121',
  'densenet169': 'densenet169',
  'densenet201': 'densenet201',
  'mobilenet_v2_torch': 'mobilenet_v2',
  'resnet18': 'resnet18',
  'resnet34': 'resnet34',
  'resnet50_v1_5': 'resnet50',
  'resnet101_v1_5': 'resnet101',
  'resnet152_v1_5': 'resnet152',
  'inception_v3_torch': 'inception_v3',
  'efficientnet_b0_torch': 'efficientnet_b0',
  'vit_b16': 'vit_b_16',
}
TIMM = {
  'densenet121': 'densenet121',
  'densenet169': 'densenet169',
  'densenet201': 'densenet201',
  'mobilenet_v1_torch': 'mobilenetv1_100',
  'mobilenet_v2_torch': 'mobilenetv2_100',
  'resnet18': 'resnet18',
  'resnet34': 'resnet34',
  'resnet50_v1_5': 'resnet50',
  'resnet101_v1_5': 'resnet101',
  'resnet152_v1_5': 'resnet152',
  'inception_v3_torch': 'inception_v3.tv_in1k',
  'efficientnet_b0': 'tf_efficientnet_b0',
  'efficientnet_b0_torch': 'efficientnet_b0',
  'efficientnet_lite0': 'tf_efficientnet_lite0',
  'efficientnet_lite1': 'tf_efficientnet_lite1',
  'efficientnet_lite2': 'tf_efficientnet_lite2',
  'vit_ti16': 'vit_tiny_patch16_224',
  'vit_s16': 'vit_small_patch16_224',
  'vit_b16': 'vit_base_patch16_224',
}
# The package efficientnet-lite-pytorch; its padding is that of the published image sizes.
LITE = {'efficientnet_lite0': 224, 'efficientnet_lite1': 240, 'efficientnet_lite2': 260}

# Images uint8 [N, H, W, 3], red, green, blue -> logits [N, classes].
Classify = Callable[[np.ndarray], np.ndarray]
# Of one image size: images, and the logits of the original network.
Case = tuple[np.ndarray, np.ndarray]


def draw_images(size: int) -> np.ndarray:
  """Returns a bright and a dark image; a deep network maps all images of pure noise alike."""
  rng = np.random.default_rng(size)
  side = size // 3 + 1
  patches = rng.integers(0, 224, (2, 3, 3, 3)).repeat(side, axis=1).repeat(side, axis=2)
  noise = rng.integers(0, 32, (2, size, size, 3))
  images = patches[:, :size, :size] + noise
  return np.stack([images[0] // 2 + 128, images[1] // 4]).astype(np.uint8)


def keras_cases(backbone: str, path: pathlib.Path) -> Iterator[Case]:
  """Builds the network of keras.applications and writes its weights to `path`."""
  os.environ['KERAS_BACKEND'] = 'jax'
  import keras

  make = getattr(keras.applications, pretrained.PUBLISHED[backbone].application)
  # The module of each application has its preprocessing.
  preprocess = sys.modules[make.__module__].preprocess_input
  for size in SIZES.get(backbone, USUAL_SIZES):
    network = make(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    images = draw_images(size)
    inputs = np.array(preprocess(images.astype(np.float32)))
    if path.exists():
      network.load_weights(path)
    else:
      randomise_keras(network, inputs)
      network.save_weights(path)
    yield images, network.predict_on_batch(inputs).reshape(len(images), -1)


def randomise_keras(network, inputs: np.ndarray) -> None:
  """Gives a network random weights, and its batch norms the statistics of the inputs."""
  rng = np.random.default_rng(0)
  for layer in network.layers:
    kind = type(layer).__name__
    if kind == 'Normalization':  # in EfficientNet, in place of separate preprocessing
      mean, std = np.array(pretrained.STYLES['torch'], np.float32)
      layer.adapt_mean.assign(mean)
      layer.adapt_variance.assign(np.square(std))
      layer.finalize_state()
    elif kind == 'BatchNormalization':
      layer.momentum = 0.0  # the statistics become those of the next batch
  for variable in network.trainable_variables:
    if variable.ndim == 1:  # biases, and scales and shifts of batch norms
      center = 0 if variable.name == 'gamma' else BIAS
      variable.assign_add(rng.normal(center, 0.2, variable.shape))
  variables = network.trainable_variables, network.non_trainable_variables
  # Compiled, because without it a deep network takes minutes.
  run = jax.jit(lambda *args: network.stateless_call(*args, training=True)[1])
  values = run(*([variable.value for variable in group] for group in variables), inputs)
  for variable, value in zip(network.non_trainable_variables, values, strict=True):
    variable.assign(value)


def torch_cases(source: str, backbone: str, path: pathlib.Path) -> Iterator[Case]:
  """Builds the network of torchvision or timm and writes its weights to `path`."""
  from safetensors.torch import save_file
  import torch

  torch.manual_seed(0)
  if source == 'timm':
    import timm

    network = timm.create_model(TIMM[backbone], pretrained=False)
  elif source == 'lite':
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(backbone.replace('_', '-'))
  else:
    import torchvision

    network = getattr(torchvision.models, TORCHVISION[backbone])(weights=None)
  mean, std = np.array(pretrained.STYLES[pretrained.style(str(path), backbone)], np.float32)

  def forward(images):
    x = torch.from_numpy((images / np.float32(255) - mean) / std)
    with torch.no_grad():
      y = network(x.permute(0, 3, 1, 2))
    return getattr(y, 'logits', y).numpy()  # Inception has two outputs in training

  sizes: tuple[int, ...]
  if source == 'lite':
    sizes = (LITE[backbone],)
  else:
    other = SIZES.get(backbone.removesuffix('_torch'), USUAL_SIZES)
    sizes = (224,) if backbone.startswith('vit_') else other
  randomise_torch(network, lambda: forward(draw_images(sizes[0])))
  save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
  for size in sizes:
    images = draw_images(size)
    yield images, forward(images)


def randomise_torch(network, forward: Callable[[], object]) -> None:
  """Gives a network random weights, and its batch norms the statistics of one `forward()`."""
  import torch

  rng = np.random.default_rng(0)
  for module in network.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
      module.momentum = 1.0  # the statistics become those of the next batch
  with torch.no_grad():
    for name, value in network.named_parameters():
      # Biases; scales of norms; the token and positions of a transformer, which are 3-d.
      if value.ndim in (1, 3):
        center = BIAS if name.endswith('bias') else 0
        value += torch.from_numpy(rng.normal(center, 0.2, value.shape))
      elif not value.any():  # the classifier of torchvision's transformer is zero
        value += torch.from_numpy(rng.normal(0, 0.05, value.shape))
    forward()
  network.eval()


def ours(backbone: str, path: pathlib.Path, size: int) -> Classify:
  """Returns our network with the weights in a file."""
  mean, std = np.array(pretrained.STYLES[pretrained.style(str(path), backbone)], np.float32)
  model = models.build(
    backbone=backbone, exits=(), head='linear', num_classes=CLASSES, image_shape=(size, size, 3),
    mean=mean, std=std, seed=0,
  )  # fmt: skip
  pretrained.load(model, str(path), backbone, skip=())
  run = jax.jit(lambda images: model(images)[:, 0], compiler_options=compiler_options())
  return lambda images: np.asarray(run(images))


def compare(source: str, backbone: str) -> list[tuple[int, float, float]]:
  """Returns size in pixels, difference, and difference between images, for each size."""
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    if source == 'keras':
      path = pathlib.Path(folder) / 'original.weights.h5'
      cases = keras_cases(backbone, path)
    else:
      path = pathlib.Path(folder) / 'original.safetensors'
      cases = torch_cases(source, backbone, path)
    for images, expected in cases:
      size = images.shape[1]
      logits = ours(backbone, path, size)(images)
      greatest = np.abs(expected).max()
      difference = np.abs(logits - expected).max() / greatest
      rows.append(
        (size, float(difference), float(np.abs(expected[0] - expected[1]).max() / greatest))
      )
  return rows


def main() -> int:
  every = {
    'keras': [name for name, entry in pretrained.PUBLISHED.items() if entry.keras],
    'torchvision': list(TORCHVISION),
    'timm': list(TIMM),
    'lite': list(LITE),
  }
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--source', choices=list(every), default='keras')
  parser.add_argument('--backbones', default='', help='separated by commas; default: all')
  flags = parser.parse_args()
  backbones = flags.backbones.split(',') if flags.backbones else every[flags.source]
  if unknown := sorted(set(backbones) - set(every[flags.source])):
    parser.error(
      f'{flags.source} has no {", ".join(unknown)}; valid: {", ".join(every[flags.source])}'
    )
  print(f'{"backbone":22} {"source":12} {"size":>4} {"difference":>10} {"between images":>14}')
  agree = True
  for backbone in backbones:
    try:
      rows = compare(flags.source, backbone)
    except ModuleNotFoundError as error:
      print(f'{error}; --source={flags.source} needs it: pip install {error.name}')
      return 2
    for size, difference, between in rows:
      agree &= difference <= LIMIT and between > MEANINGFUL  # false for NaN as well
      print(
        f'{backbone:22} {flags.source:12} {size:4} {difference:10.1e} {between:14.2f}', flush=True
      )
  return 0 if agree else 1


if __name__ == '__main__':
  sys.exit(main())
