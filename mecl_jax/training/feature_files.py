"""Files of the features of frozen backbones: one per exit, shared by all runs that can."""

from collections.abc import Mapping
import contextlib
import hashlib
import logging
import os
import pathlib
from typing import Any

from flax import nnx
import jax
import ml_dtypes
import numpy as np

from mecl_jax import files
from mecl_jax.data import Split, cache
from mecl_jax.errors import MissingFile, UserError
from mecl_jax.models.own.factories import is_own
from mecl_jax.training import own_networks
from mecl_jax.training.augmentation import Copy
from mecl_jax.training.run import Run
from mecl_jax.version import __version__

logger = logging.getLogger(__name__)

_OLD_SECONDS = 24 * 3600.0  # after which a temporary file is that of a killed process
# Fields of the network that change no feature. Weights and pixel statistics are compared by value.
_NOT_OF_FEATURES = (
  *('exits', 'head', 'pretrained', 'pretrained_skip', 'preprocessing', 'frozen', 'remat'),
)


def path_of(run: Run, split: Split, exit_name: str) -> pathlib.Path:
  """Returns the file of the features of a split at an exit, which need not exist.

  Its name is a digest of all that the features depend on.
  """
  return cache.directory().parent / 'features' / f'{_digest(run, split, exit_name)}.npz'


def of_copy(path: pathlib.Path, copy: Copy) -> pathlib.Path:
  """Returns the file of the features of an augmented copy; `path` is that of the images."""
  digest = hashlib.sha256(repr((path.stem, copy.augmentation, copy.number)).encode())
  return path.with_stem(digest.hexdigest()[:24])


def read(path: pathlib.Path, count: int) -> np.ndarray | None:
  """Reads features [count, ...]; None if there is no file, or it is damaged, which is logged."""
  try:
    arrays = files.read_npz(path)
    with contextlib.suppress(OSError):  # without the permission to change the file
      os.utime(path)  # the files that were not used for longest are removed first
    features = arrays['features']
    if arrays['bfloat16']:
      features = features.view(ml_dtypes.bfloat16)
  except MissingFile:
    return None
  except (UserError, OSError, KeyError, TypeError) as error:
    logger.warning('%s; features are computed again', error)
    return None
  return features if len(features) == count else None


def write(features: Mapping[pathlib.Path, jax.Array], limit: int) -> None:
  """Writes features, and removes the files that were not used for longest.

  Args:
    features: by file.
    limit: bytes that the folder may have; where the features have more, nothing is written.
  """
  size = sum(array.nbytes for array in features.values())
  if not features or size > limit:
    return
  try:
    folder = next(iter(features)).parent
    folder.mkdir(parents=True, exist_ok=True)
    files.clear_temporary_files(folder, older_than=_OLD_SECONDS)
    _make_room(folder, limit - size)
    for path, array in features.items():
      values = np.asarray(array)
      narrow = values.dtype == ml_dtypes.bfloat16  # .npz files have no bfloat16
      files.write_npz(
        path,
        {'features': values.view(np.uint16) if narrow else values, 'bfloat16': np.array(narrow)},
      )
  except OSError as error:  # with a full disk or a read-only home the run can still go on
    logger.warning('features could not be stored and will be computed again: %s', error)


def _make_room(folder: pathlib.Path, limit: int) -> None:
  """Removes the files that were not used for longest, until the others have at most `limit` bytes.

  A file that another process reads stays readable for it.
  """
  kept = 0
  for file in sorted(folder.glob('*.npz'), key=lambda f: f.stat().st_mtime, reverse=True):
    kept += file.stat().st_size
    if kept > limit:
      file.unlink(missing_ok=True)


def _digest(run: Run, split: Split, exit_name: str) -> str:
  model, config = run.model, run.config
  number = model.exit_names.index(exit_name)
  network = {k: v for k, v in config.model.items() if k not in _NOT_OF_FEATURES}
  head = model.exit_stages[number], model.head_kinds[number]
  device = jax.local_devices()[0]
  facts: tuple[Any, ...] = (
    *(__version__, jax.__version__, device.platform, device.device_kind, run.mesh.size),
    *(sorted(network.items()), config.data.image_size, head),
  )
  if is_own(config.model.backbone):  # the code of which may change
    facts += (own_networks.program_digest(model, run.dataset.image_shape),)
  digest = hashlib.sha256(repr(facts).encode())
  stages = sorted(name for segment in model.segments[: number + 1] for name in segment)
  state = {
    'pixels': [model.mean[...], model.std[...]],
    'stages': [
      nnx.to_pure_dict(nnx.state(model.backbone.stages[name], nnx.Not(nnx.RngState)))
      for name in stages
    ],
  }
  for path, array in jax.tree_util.tree_flatten_with_path(jax.device_get(state))[0]:
    _add(digest, jax.tree_util.keystr(path), np.asarray(array))
  digest.update(split.images_digest.encode())
  return digest.hexdigest()[:24]


def _add(digest, name: str, array: np.ndarray) -> None:
  digest.update(f'{name} {array.dtype} {array.shape}'.encode())
  digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
