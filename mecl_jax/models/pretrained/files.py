"""Reading files of published weights, with the names of the publisher."""

from collections.abc import Iterator
import importlib
import os
import pathlib
import re
import tempfile
from types import ModuleType

import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.models.pretrained.publishers import IMAGENET, kind_of, published

# Class of a Keras layer, in the spelling of its group in the file: its variables in order. Keras
# uses the name 'kernel' for a depthwise kernel too, but its axes have another meaning.
KERAS_VARIABLES = {
  'conv2d': ('kernel', 'bias'),
  'depthwise_conv2d': ('depthwise_kernel', 'bias'),
  'dense': ('kernel', 'bias'),
  'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
}
# Classes with variables that are not weights: scaling of pixels, and random states of dropout.
NO_WEIGHTS = ('normalization', 'seed_generator')


def read(source: str, backbone: str) -> dict[str, np.ndarray]:
  """Reads weights with the names of their publisher.

  Args:
    source: 'imagenet', for which keras.applications downloads a file once and caches it; or the
      path of a Keras 3 `.weights.h5` file, or of a `.safetensors` file with the names of
      torchvision or timm.
    backbone: name of the backbone that gets the weights.

  Returns:
    name -> array. Names of Keras are 'layer.variable', for example 'conv1_bn.moving_mean'. Layers
    without a name of their own are numbered from 0 within their class, in the order of their
    creation, for example 'conv2d_0'.

  Raises:
    UserError: the file is missing or damaged, the backbone has no weights of this kind, the
      download failed, or a package is missing.
  """
  kind = kind_of(source, backbone)
  if source == IMAGENET:
    return _fetch(published(backbone).application)
  path = pathlib.Path(source).expanduser()
  if not path.is_file():
    raise UserError(f'model.pretrained={source}: file not found')
  return _read_keras(path) if kind == 'keras' else _read_safetensors(path)


def _package(name: str) -> ModuleType:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError(
      f'model.pretrained needs the package {name.partition(".")[0]}: pip install'
      " 'mecl-jax[pretrained]'"
    ) from error


def _fetch(application: str) -> dict[str, np.ndarray]:
  """Downloads weights with keras.applications and returns them as `_read_keras` does."""
  os.environ['KERAS_BACKEND'] = 'jax'  # Keras reads this when it is imported
  keras = _package('keras')
  try:
    network = getattr(keras.applications, application)(weights='imagenet')
  except Exception as error:  # Keras has no exception class for a failed download
    if not re.match('URL fetch failure|Incomplete or corrupted', str(error)):
      raise
    raise UserError(
      f'model.pretrained=imagenet: the download of {application} failed ({error}); try again, or'
      ' set model.pretrained to the path of a file'
    ) from error
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'imagenet.weights.h5'
    network.save_weights(path)
    return _read_keras(path)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  safetensors = _package('safetensors')
  try:
    return _package('safetensors.numpy').load_file(path)
  except safetensors.SafetensorError as error:
    raise UserError(
      f'model.pretrained={path} is damaged or not a safetensors file: {error}'
    ) from error


def _read_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
  h5py = _package('h5py')
  try:
    with h5py.File(path) as file:
      layers = list(_layers(file))
  except OSError as error:
    raise UserError(f'model.pretrained={path} is damaged or not an HDF5 file: {error}') from error
  if not layers:
    raise UserError(
      f'model.pretrained={path} has no layers with names; save it with save_weights of Keras 3'
    )
  renamed = _renumbered([(kind, name) for kind, name, _ in layers])
  arrays = {}
  for (kind, _, values), name in zip(layers, renamed, strict=True):
    variables = KERAS_VARIABLES.get(kind, tuple(map(str, range(len(values)))))
    if kind == 'batch_normalization' and len(values) == 3:
      arrays[f'{name}.gamma'] = np.ones_like(values[0])  # the layer has scale=False
      variables = variables[1:]
    arrays |= {
      f'{name}.{variable}': value for variable, value in zip(variables, values, strict=False)
    }
  return arrays


def _layers(file) -> Iterator[tuple[str, str, list[np.ndarray]]]:
  """Yields class, name and arrays of every layer with weights in an open HDF5 file.

  The file of a trained network also has groups for its optimiser and metrics; they are ignored.
  """
  groups: list = []
  if 'layers' in file:
    file['layers'].visititems(lambda path, item: groups.append((path, item)))
  for path, group in groups:
    parent, _, last = path.rpartition('/')
    kind = re.sub(r'_\d+$', '', parent.rpartition('/')[2])
    if last == 'vars' and len(group) and 'name' in group.attrs and kind not in NO_WEIGHTS:
      yield kind, group.attrs['name'], [group[key][()] for key in sorted(group, key=int)]


def _renumbered(layers: list[tuple[str, str]]) -> list[str]:
  """Returns names in which automatic numbers begin at 0 within each class.

  Keras counts layers of the whole process, so the first name may be 'conv2d' or 'conv2d_94'.
  """
  automatic: dict[str, list[int]] = {}
  for kind, name in layers:
    if (number := _number(kind, name)) is not None:
      automatic.setdefault(kind, []).append(number)
  result = []
  for kind, name in layers:
    number = _number(kind, name)
    result.append(name if number is None else f'{kind}_{sorted(automatic[kind]).index(number)}')
  return result


def _number(kind: str, name: str) -> int | None:
  """Returns the number in an automatic name, 0 if it has none; None for other names."""
  match = re.fullmatch(rf'{kind}(?:_(\d+))?', name)
  return int(match[1] or 0) if match else None
