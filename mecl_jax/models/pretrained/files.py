"""Arrays out of files of weights, by the names that they have there."""

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

# Class of a Keras layer, as its group in the file is called: its variables in their order. Keras
# calls a depthwise kernel just kernel, but its axes mean something else.
KERAS_VARIABLES = {
  'conv2d': ('kernel', 'bias'),
  'depthwise_conv2d': ('depthwise_kernel', 'bias'),
  'dense': ('kernel', 'bias'),
  'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
}
# What has variables that are no weights: the scaling of pixels, and the generators of dropout.
NO_WEIGHTS = ('normalization', 'seed_generator')


def read(source: str, backbone: str) -> dict[str, np.ndarray]:
  """Reads weights, by the source's own names.

  Args:
    source: 'imagenet', for which keras.applications fetches a file once and keeps it; or a path:
      a Keras 3 `.weights.h5`, or a `.safetensors` with the names of torchvision or timm.
    backbone: that is to take them.

  Returns:
    name -> array. Keras's are 'layer.variable', as 'conv1_bn.moving_mean'; layers that were never
    named are counted from 0 within their class in the order in which they were made, 'conv2d_0'.

  Raises:
    UserError: no such file, or one that cannot be read; a backbone that cannot take them; no
      network; a package that is missing.
  """
  kind = kind_of(source, backbone)
  if source == IMAGENET:
    return _fetch(published(backbone).application)
  path = pathlib.Path(source).expanduser()
  if not path.is_file():
    raise UserError(f'model.pretrained={source}: there is no such file')
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
  """The weights that keras.applications publishes, read from a file as any others of Keras."""
  os.environ['KERAS_BACKEND'] = 'jax'  # Keras looks once, while it is imported
  keras = _package('keras')
  try:
    network = getattr(keras.applications, application)(weights='imagenet')
  except Exception as error:  # Keras has no class of its own for a failed download
    if not re.match('URL fetch failure|Incomplete or corrupted', str(error)):
      raise
    raise UserError(
      f'model.pretrained=imagenet: {application} could not be fetched ({error}); try again, or give'
      ' the path of a file'
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
    raise UserError(f'model.pretrained={path} is damaged or no safetensors: {error}') from error


def _read_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
  h5py = _package('h5py')
  try:
    with h5py.File(path) as file:
      layers = list(_layers(file))
  except OSError as error:
    raise UserError(f'model.pretrained={path} is damaged or no HDF5: {error}') from error
  if not layers:
    raise UserError(
      f'model.pretrained={path} has no layers with names; write it with save_weights of Keras 3'
    )
  renamed = _renumbered([(kind, name) for kind, name, _ in layers])
  arrays = {}
  for (kind, _, values), name in zip(layers, renamed, strict=True):
    variables = KERAS_VARIABLES.get(kind, tuple(map(str, range(len(values)))))
    if kind == 'batch_normalization' and len(values) == 3:
      arrays[f'{name}.gamma'] = np.ones_like(values[0])  # made with scale=False
      variables = variables[1:]
    arrays |= {
      f'{name}.{variable}': value for variable, value in zip(variables, values, strict=False)
    }
  return arrays


def _layers(file) -> Iterator[tuple[str, str, list[np.ndarray]]]:
  """Class, name and arrays of every layer in an open HDF5 file that has weights.

  Beside the layers of a network that has been trained there are its optimiser and its metrics.
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
  """Names, of which those that Keras made up are counted from 0.

  It counts over the whole process, so that the first may be 'conv2d' or 'conv2d_94'.
  """
  made_up: dict[str, list[int]] = {}
  for kind, name in layers:
    if (number := _number(kind, name)) is not None:
      made_up.setdefault(kind, []).append(number)
  result = []
  for kind, name in layers:
    number = _number(kind, name)
    result.append(name if number is None else f'{kind}_{sorted(made_up[kind]).index(number)}')
  return result


def _number(kind: str, name: str) -> int | None:
  match = re.fullmatch(rf'{kind}(?:_(\d+))?', name)
  return int(match[1] or 0) if match else None
