"""Decoding of image files into one file of the cache folder, by several threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
import contextlib
import hashlib
import math
import os
import pathlib
import shutil
from typing import Any, BinaryIO, NamedTuple, TypeVar

from absl import logging
import filelock
import numpy as np

from mecl_jax import files
from mecl_jax.data import cache, pictures
from mecl_jax.data.progress import Show
from mecl_jax.data.rows import open_rows
from mecl_jax.errors import UserError, first_line

UNCHANGED = 256  # pixels: images of one size, of at most so many per side, are not resized
USUAL = 64  # pixels per side of all others, unless the user sets a side
_FORMAT = 1  # increase it when the content of the files changes: older files are then ignored
_STEP = 1 << 26  # bytes of decoded images that wait to be written
_MOST_IN_STEP = 1024  # images

Result = TypeVar('Result')


class Decoded(NamedTuple):
  """Decoded images.

  Attributes:
    images: uint8 [N, H, W, C], an array or `FileRows`: of the files that can be read.
    reasons: for every file why it cannot be read; '' for those that can.
    resized: what was done to images of several sizes; '' if nothing.
  """

  images: Any
  reasons: Sequence[str]
  resized: str


def decode(root: pathlib.Path, names: Sequence[str], side: int, show: Show) -> Decoded:
  """Decodes files, or reads what was decoded before, as long as names, sizes and times are equal.

  All images get the same number of channels: 3 if one of them is in colour, else 1.

  Args:
    root: a folder.
    names: paths of files in it.
    side: of the result in pixels; 0: images of one size, of at most 256 pixels per side, are
      unchanged, and others get 64.
    show: shows the progress.

  Raises:
    UserError: a file or the cache folder cannot be used; files with damaged content are no error.
  """
  path = _path(root, names, side)
  found = _cached(path)
  if found is None:
    with _one_line_errors(path), _lock(path):
      found = _cached(path)  # another process may have decoded them meanwhile
      if found is None:
        _remove_others(path)
        _write(path, root, names, side, show)
        found = _cached(path)
  if found is None:
    raise UserError(f'{path} was removed or changed while it was written; start again')
  return found


def _path(root: pathlib.Path, names: Sequence[str], side: int) -> pathlib.Path:
  """Returns the file for the decoded images: its name has a part for the folder."""
  place = hashlib.sha256(f'{root.resolve()} {side}'.encode()).hexdigest()[:12]
  digest = hashlib.sha256(str(_FORMAT).encode())
  for name in names:
    try:
      stat = os.stat(os.path.join(root, name))  # a Path takes longer than the call
    except OSError as error:
      raise UserError(f'{root / name} cannot be read: {error.strerror}') from None
    digest.update(f'{name} {stat.st_size} {stat.st_mtime_ns}\n'.encode())
  return cache.directory() / f'{place}-{digest.hexdigest()[:12]}.images'


def _place(path: pathlib.Path) -> str:
  return path.name.partition('-')[0]


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
  """Keeps other processes from decoding the same folder; the system unlocks it if this one ends."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(path.parent / f'.{_place(path)}.lock'):
    yield


def _remove_others(path: pathlib.Path) -> None:
  """Removes what was decoded before the files changed, and what a killed process left."""
  for pattern in (f'{_place(path)}-*', f'.{_place(path)}-*.tmp'):
    for other in path.parent.glob(pattern):
      other.unlink(missing_ok=True)


def _cached(path: pathlib.Path) -> Decoded | None:
  """Returns decoded images; None if there are none, or they are damaged."""
  try:
    facts = files.read_npz(path.with_suffix('.npz'))
    file = path.open('rb')
    if _digest(file) != str(facts['digest']):
      file.close()
      raise UserError(f'{path} is damaged: its checksum differs; decoding again')
  except files.MissingFile:
    return None
  except (OSError, UserError) as error:
    logging.warning('%s', error)
    return None
  height, width, channels = facts['shape'].tolist()
  count = int((facts['reasons'] == '').sum())
  images = open_rows(file, (count, height, width, channels))
  return Decoded(images, facts['reasons'].tolist(), str(facts['resized']))


def _digest(file: BinaryIO) -> str:
  file.seek(0)
  return hashlib.file_digest(file, 'sha256').hexdigest()  # type: ignore[arg-type]


@contextlib.contextmanager
def _one_line_errors(path: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    reason = error.strerror or first_line(error)
    raise UserError(
      f'decoded images cannot be written to {path.parent}: {reason}; set XDG_CACHE_HOME to another'
      ' folder'
    ) from None


def _write(
  path: pathlib.Path, root: pathlib.Path, names: Sequence[str], side: int, show: Show
) -> None:
  """Decodes files, and writes their pixels and the facts about them."""
  with pictures.warnings_as_errors(), _threads() as pool:
    headers = list(
      _each(pool, pictures.read_header, [root / name for name in names], _MOST_IN_STEP, show)
    )
    reasons = [each.reason if isinstance(each, pictures.Unreadable) else '' for each in headers]
    shape, resized = _shape([each for each in headers if isinstance(each, pictures.Header)], side)
    places = [place for place, reason in enumerate(reasons) if not reason]
    _check_space(path, len(places) * math.prod(shape))
    step = max(_workers(), min(_MOST_IN_STEP, _STEP // math.prod(shape)))
    paths = [root / names[place] for place in places]
    digest = hashlib.sha256()
    with files.atomic(path) as file:
      images = _each(pool, pictures.read_pixels, paths, step, show, *shape)
      for place, image in zip(places, images, strict=True):
        if isinstance(image, pictures.Unreadable):
          reasons[place] = image.reason
        else:
          data = np.ascontiguousarray(image).data
          digest.update(data)
          file.write(data)
  facts = {
    'reasons': np.array(reasons, np.str_),
    'shape': np.array(shape),
    'resized': np.array(resized),
    'digest': np.array(digest.hexdigest()),
  }
  files.write_npz(path.with_suffix('.npz'), facts)


def _workers() -> int:
  return os.cpu_count() or 1


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
  """Yields threads, since Pillow decodes outside of Python's lock; an error cancels their work."""
  pool = ThreadPoolExecutor(_workers())
  try:
    yield pool
  finally:
    pool.shutdown(cancel_futures=True)


def _each(
  pool: ThreadPoolExecutor,
  function: Callable[..., Result],
  paths: Sequence[pathlib.Path],
  step: int,
  show: Show,
  *args,
) -> Iterator[Result | pictures.Unreadable]:
  """Yields `function(path, *args)` for every file, of which `step` are read ahead."""
  with show('image sizes' if function is pictures.read_header else 'decoding', len(paths)) as on:
    for start in range(0, len(paths), step):
      chosen = paths[start : start + step]
      yield from pool.map(lambda path: pictures.attempt(function, path, *args), chosen)
      on(start + len(chosen))


def _shape(headers: Sequence[pictures.Header], side: int) -> tuple[tuple[int, int, int], str]:
  """Returns the shape of the decoded images, and what this does to those of another size."""
  if not headers:
    return (1, 1, 1), ''
  channels = max(header.channels for header in headers)
  sizes = [header[:2] for header in headers]
  smallest, largest = min(sizes, key=np.prod), max(sizes, key=np.prod)
  if not side and smallest == largest and len(set(sizes)) == 1 and max(largest) <= UNCHANGED:
    return (*largest, channels), ''
  side, by = (side, '') if side else (USUAL, '; data.folder_size sets another side')
  if set(sizes) == {(side, side)}:
    return (side, side, channels), ''
  images = 'x'.join(map(str, smallest))
  if len(set(sizes)) > 1:
    images += f' to {"x".join(map(str, largest))}'
  return (side, side, channels), f'images of {images} pixels to {side}x{side}{by}'


def _check_space(path: pathlib.Path, needed: int) -> None:
  """Raises a UserError if the disk has no room for the decoded images."""
  free = shutil.disk_usage(path.parent).free
  if free < needed:
    raise UserError(
      f'{path.parent} has {free / 1e6:,.0f} MB free, and the decoded images need'
      f' {needed / 1e6:,.0f} MB; set XDG_CACHE_HOME to another folder, or a smaller'
      ' data.folder_size'
    )
