"""Decoded splits kept on disk, so that images are decoded once and not at every start."""

from collections.abc import Callable
import hashlib
import os
import pathlib
import zipfile

from absl import logging
import numpy as np

from mecl_jax import files
from mecl_jax.data import dataset

_FORMAT = 1  # raise it when what is kept changes: older files are then ignored


def directory() -> pathlib.Path:
  """Where decoded splits are kept: `mecl_jax/data` in `$XDG_CACHE_HOME`, or else in `~/.cache`."""
  root = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(root).expanduser() / 'mecl_jax' / 'data'


def path_for(folder: pathlib.Path, *choices: str) -> pathlib.Path:
  """Returns the cache file of what is read from a prepared TFDS folder with these choices.

  Sizes and times of the files of the folder are part of the name, so that a set which was
  prepared again is decoded again.
  """
  facts = [str(_FORMAT), str(folder.resolve()), *choices]
  for file in sorted(folder.iterdir()):
    stat = file.stat()
    facts.append(f'{file.name} {stat.st_size} {stat.st_mtime_ns}')
  digest = hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:24]
  return directory() / f'{digest}.npz'


def load_or_make(path: pathlib.Path, make: Callable[[], dataset.Split]) -> dataset.Split:
  """Returns the split kept at `path`; where there is none, or a damaged one, makes and keeps it."""
  if path.exists():
    try:
      return _load(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
      logging.warning('%s is damaged (%s); decoding again', path, error)
  split = make()
  try:
    files.write_npz(path, {'images': split.images, 'labels': split.labels, 'ids': split.ids})
  except OSError as error:  # a full disk or a read-only home costs time, not the run
    logging.warning('decoded images are not kept for the next start: %s', error)
  return split


def _load(path: pathlib.Path) -> dataset.Split:
  """Reads a whole file; the checksums inside it tell a damaged one."""
  with np.load(path, allow_pickle=False) as arrays:
    return dataset.Split(arrays['images'], arrays['labels'], arrays['ids'])
