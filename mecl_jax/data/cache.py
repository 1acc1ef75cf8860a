"""Cache of decoded splits on disk, so that images are decoded only at the first start."""

from collections.abc import Callable
import hashlib
import os
import pathlib

from absl import logging
import numpy as np

from mecl_jax import files
from mecl_jax.errors import UserError

_OLD_SECONDS = 24 * 3600.0  # after which no process still writes a temporary file
_FORMAT = 1  # increase it when the content of the files changes: older files are then ignored

Arrays = dict[str, np.ndarray]


def directory() -> pathlib.Path:
  """Returns the cache folder: `mecl_jax/data` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
  root = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(root).expanduser() / 'mecl_jax' / 'data'


def path_for(folder: pathlib.Path, *choices: str) -> pathlib.Path:
  """Returns the cache file for what is read from a folder.

  The name depends on the sizes and modification times of the files in the folder, so that new
  files are decoded again.

  Args:
    folder: a version of a set that TFDS prepared, or the downloaded archives of a set.
    *choices: the label, the split, and all else that changes what is read.
  """
  facts = [str(_FORMAT), str(folder.resolve()), *choices]
  for file in sorted(folder.iterdir()):
    stat = file.stat()
    facts.append(f'{file.name} {stat.st_size} {stat.st_mtime_ns}')
  digest = hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:24]
  return directory() / f'{digest}.npz'


def load_or_make(path: pathlib.Path, make: Callable[[], Arrays]) -> Arrays:
  """Returns the arrays stored at `path`; makes and stores them if they are missing or damaged."""
  if path.exists():
    try:
      return files.read_npz(path, again='decoding again')
    except UserError as error:
      logging.warning('%s', error)
  files.clear_temporary_files(path.parent, older_than=_OLD_SECONDS)
  arrays = make()
  try:
    files.write_npz(path, arrays)
  except OSError as error:  # with a full disk or a read-only home the run can still go on
    logging.warning('decoded images could not be stored and will be decoded again: %s', error)
  return arrays
