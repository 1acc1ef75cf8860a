"""Reading files of published weights, with the names of the publisher."""

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from types import ModuleType

import numpy as np

from mecl_jax.errors import DamagedFile, UserError, reading
from mecl_jax.files import expanded, read_npz
from mecl_jax.models.pretrained.publishers import IMAGENET, kind_of, published

# Class of a Keras layer, in the spelling of its group in the file: its variables in order. Keras
# uses the name 'kernel' for a depthwise kernel too, but its axes have another meaning.
KERAS_VARIABLES = {
  'conv2d': ('kernel', 'bias'),
  'depthwise_conv2d': ('depthwise_kernel', 'bias'),
  'dense': ('kernel', 'bias'),
  'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
}
_SECONDS, _BYTES_PER_SECOND = 20.0, 10e6  # that reading an HDF5 file may take, on a slow disk


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
  path = expanded(source)
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
  _package('safetensors')
  load_file = _package('safetensors.numpy').load_file
  with reading(f'model.pretrained={path} is damaged or not a safetensors file: it'):
    return load_file(path)


def _read_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
  _package('h5py')
  layers = _read_layers(path)
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


def _read_layers(path: pathlib.Path) -> list[tuple[str, str, list[np.ndarray]]]:
  """Returns class, name and arrays of every layer with weights, as a process of its own reads them.

  Raises:
    DamagedFile: the process fails, or takes far longer than a whole file does.
  """
  limit = _SECONDS + path.stat().st_size / _BYTES_PER_SECOND
  with tempfile.TemporaryDirectory() as folder:
    output = pathlib.Path(folder) / 'arrays.npz'
    script = pathlib.Path(__file__).with_name('hdf5.py')
    command = [sys.executable, '-P', str(script), str(path), str(output)]
    reason = ''
    try:
      done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
      if done.returncode:
        reason = (done.stderr.splitlines() or ['HDF5 ended without a message'])[-1]
    except subprocess.TimeoutExpired:
      reason = f'HDF5 does not end within {limit:.0f} s'
    if reason:
      raise DamagedFile(f'model.pretrained={path} is damaged or not an HDF5 file: {reason}')
    arrays = read_npz(output)
  layers, read = [], 0
  for kind, name, count in json.loads(str(arrays['names'])):
    layers.append((kind, name, [arrays[str(read + index)] for index in range(count)]))
    read += count
  return layers


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
