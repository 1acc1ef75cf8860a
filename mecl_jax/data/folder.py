"""Reading of image files in folders: `train/CLASS/*.jpg` beside `test`, or `CLASS/*.jpg` alone."""

from collections.abc import Iterable
import dataclasses
import itertools
import os
import pathlib

import numpy as np

from mecl_jax.data import decoding
from mecl_jax.data.dataset import MOST_CLASSES, Parts, Split, held_out
from mecl_jax.data.pictures import SUFFIXES
from mecl_jax.data.progress import Show
from mecl_jax.errors import UserError
from mecl_jax.files import expanded

_TRAIN, _TEST, _VALIDATION = 'train', 'test', 'validation'
# Splits by the name of their folder in lower case.
_FOLDERS = {
  **dict.fromkeys(('train', 'training'), _TRAIN),
  **dict.fromkeys(('test', 'testing'), _TEST),
  **dict.fromkeys(('val', 'valid', 'validation'), _VALIDATION),
}
_SHOWN = 3  # names in a message
_EXPECTED = 'it must hold CLASS/*.jpg, or train/CLASS/*.jpg and, if there are any, val and test'


@dataclasses.dataclass
class _Listing:
  """The image files of a folder.

  Attributes:
    root: the folder.
    places: split by the name of its folder in `root`.
    class_names: of the folders in the training split, in the order of the labels.
    files: split and label by id, which is the path in `root` with slashes.
    links: symbolic links, which are not followed, as keys.
    unused: folders beside those of the splits.
  """

  root: pathlib.Path
  places: dict[str, str] = dataclasses.field(default_factory=dict)
  class_names: list[str] = dataclasses.field(default_factory=list)
  files: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
  links: dict[str, None] = dataclasses.field(default_factory=dict)
  unused: list[str] = dataclasses.field(default_factory=list)


def read(folder: str | os.PathLike, *, side: int, test_size: float, seed: int, show: Show) -> Parts:
  """Reads a data set from image files; decoded images are kept in the cache folder.

  Args:
    folder: that holds `train/CLASS/*.jpg` and, if there are any, `val` and `test` likewise; or
      `CLASS/*.jpg`. Files are PNG, JPEG or WebP.
    side: of the result in pixels, see `decoding.decode`.
    test_size: images that are cut for the test split if there is no folder `test`: their number, or
      their share, below 1.
    seed: of the choice of these images.
    show: shows the progress of decoding.

  Returns:
    The splits; the id of an image is its path in the folder. Files that cannot be read are left
    out, and the notes name the first of them.

  Raises:
    UserError: there is no such folder, it has fewer than two classes, a class has no image that can
      be read, or the test split cannot be cut.
  """
  listing = _list(expanded(folder))
  names = sorted(listing.files)
  if not names:
    raise UserError(f'{listing.root} has no PNG, JPEG or WebP file; {_EXPECTED}{_linked(listing)}')
  decoded = decoding.decode(listing.root, names, side, show)
  kept = [name for name, reason in zip(names, decoded.reasons, strict=True) if not reason]
  if not kept:
    raise UserError(
      f'{listing.root}: none of {len(names)} files can be read; {names[0]}: {decoded.reasons[0]}'
    )
  roles = np.array([listing.files[name][0] for name in kept])
  labels = np.array([listing.files[name][1] for name in kept], np.int32)
  everything = Split(decoded.images, labels, np.array(kept, np.str_))
  _check_filled(listing, roles, labels)
  if _TEST not in roles:
    rest = np.flatnonzero(roles == _TRAIN)
    # Another seed than that of the cut of the validation split, which follows.
    roles[rest[held_out(labels[rest], test_size, (seed, 1), 'data.test_size')]] = _TEST
  train, test = (everything.take(roles == role) for role in (_TRAIN, _TEST))
  validation = everything.take(roles == _VALIDATION) if _VALIDATION in roles else None
  notes = _notes(listing, names, decoded)
  return Parts(train, test, tuple(listing.class_names), validation, notes)


def _list(root: pathlib.Path) -> _Listing:
  """Lists the files of all classes and splits."""
  if not root.is_dir():
    raise UserError(f'data.folder={root}: there is no such folder; set it to another one')
  listing = _Listing(root)
  try:
    folders = _folders(listing, root)
    listing.places = _places(root, folders)
    if '' not in listing.places:
      listing.unused = [name for name in folders if name not in listing.places]
    train = next(place for place, role in listing.places.items() if role == _TRAIN)
    _list_classes(listing, root / train)
    for place, role in listing.places.items():
      _list_split(listing, place, role)
  except OSError as error:
    raise UserError(f'{error.filename or root} cannot be read: {error.strerror}') from None
  return listing


def _places(root: pathlib.Path, folders: list[str]) -> dict[str, str]:
  """Returns the split by the name of its folder; for one tree of classes, that of training by ''.

  Raises:
    UserError: two folders are of one split, or there are folders of splits without training.
  """
  places = {name: _FOLDERS[name.lower()] for name in folders if name.lower() in _FOLDERS}
  # A folder without folders inside may be a class that has such a name.
  splits = [name for name in places if _folders(_Listing(root), root / name)]
  if not splits:
    return {'': _TRAIN}
  if _TRAIN not in [places[name] for name in splits]:
    raise UserError(
      f'{root} has the folder {splits[0]} with folders inside, but no folder train with classes;'
      f' {_EXPECTED}'
    )
  for name, other in itertools.combinations(places, 2):
    if places[name] == places[other]:
      raise UserError(f'{root} has both {name} and {other}; keep one of them')
  return places


def _list_classes(listing: _Listing, train: pathlib.Path) -> None:
  """Adds the classes of the training split to a listing."""
  names = listing.class_names = _folders(listing, train)
  if not 2 <= len(names) <= MOST_CLASSES:
    raise UserError(
      f'{train} has {len(names):,} folders of classes{(names and f" ({_first(names)})") or ""};'
      f' {_EXPECTED}, with 2 to {MOST_CLASSES:,} classes{_linked(listing)}'
    )


def _list_split(listing: _Listing, place: str, role: str) -> None:
  """Adds the files of a split to a listing."""
  root = listing.root
  names = listing.class_names if role == _TRAIN else _folders(listing, root / place)
  labels = {name: label for label, name in enumerate(listing.class_names)}
  if unknown := [name for name in names if name not in labels]:
    raise UserError(
      f'{root / place} has {len(unknown)} classes that train lacks: {_first(unknown)}'
    )
  for name in names:
    for path in _images(listing, root / place / name):
      listing.files[path] = role, labels[name]


def _folders(listing: _Listing, folder: pathlib.Path) -> list[str]:
  """Returns the names of the folders in a folder, sorted; hidden ones are left out."""
  found = sorted(path for path in folder.iterdir() if not _is_hidden(path.name))
  for path in found:
    if path.is_symlink():
      listing.links[path.relative_to(listing.root).as_posix()] = None
  return [path.name for path in found if path.is_dir() and not path.is_symlink()]


def _is_hidden(name: str) -> bool:
  """Returns whether a name is hidden, or of what macOS adds to archives."""
  return name.startswith('.') or name == '__MACOSX'


def _images(listing: _Listing, folder: pathlib.Path) -> list[str]:
  """Returns the paths of the images in a folder, and in folders inside of it."""

  def fail(error: OSError) -> None:
    raise error

  found = []
  for place, folders, files in os.walk(folder, onerror=fail):
    folders[:] = [name for name in folders if not _is_hidden(name)]
    inside = pathlib.Path(place).relative_to(listing.root).as_posix()
    for name in (*folders, *files):
      if os.path.islink(os.path.join(place, name)):
        listing.links[f'{inside}/{name}'] = None
    images = (name for name in files if name.lower().endswith(SUFFIXES) and not _is_hidden(name))
    found += [_checked(f'{inside}/{name}') for name in images]
  return [path for path in found if path not in listing.links]


def _checked(name: str) -> str:
  try:
    name.encode()
  except UnicodeEncodeError:
    raise UserError(f'the name of the file {name!a} is not UTF-8; rename the file') from None
  return name


def _check_filled(listing: _Listing, roles: np.ndarray, labels: np.ndarray) -> None:
  """Raises a UserError if a class has no training image, or a split no image."""
  for place, role in listing.places.items():
    if role not in roles:
      raise UserError(
        f'{listing.root / place} has no PNG, JPEG or WebP file that can be read; add images, or'
        ' remove the folder'
      )
  counts = np.bincount(labels[roles == _TRAIN], minlength=len(listing.class_names))
  if not counts.all():
    empty = [listing.class_names[label] for label in np.flatnonzero(counts == 0)]
    raise UserError(
      f'{listing.root}: {len(empty)} of {len(counts)} classes have no PNG, JPEG or WebP file that'
      f' can be read: {_first(empty)}{_linked(listing)}'
    )


def _linked(listing: _Listing) -> str:
  if not listing.links:
    return ''
  return f'; symbolic links are not followed: {_first(listing.links)}'


def _first(names: Iterable[str]) -> str:
  return ', '.join(itertools.islice(names, _SHOWN))


def _notes(
  listing: _Listing, names: list[str], decoded: decoding.Decoded
) -> tuple[tuple[str, str], ...]:
  """Returns what a user should see of how the files were read."""
  bad = [(name, why) for name, why in zip(names, decoded.reasons, strict=True) if why]
  shown = '; '.join(f'{name}: {why}' for name, why in bad[:_SHOWN])
  links, unused = len(listing.links), len(listing.unused)
  notes = {
    'resized': decoded.resized,
    'not readable': f'{len(bad):,} of {len(names):,} files are left out: {shown}' if bad else '',
    'links': f'{links:,} symbolic, not followed: {_first(listing.links)}' if links else '',
    'not used': f'folders beside train ({unused}): {_first(listing.unused)}' if unused else '',
  }
  return tuple((heading, text) for heading, text in notes.items() if text)
