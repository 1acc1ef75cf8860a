"""Data sets as plain arrays, the validation split, and channel statistics."""

import dataclasses
import functools
import hashlib
import math
from typing import Any, NamedTuple
import unicodedata

import numpy as np

from mecl_jax.data.labels import CLASSES
from mecl_jax.data.rows import FileRows
from mecl_jax.errors import UserError

MOST_CLASSES = 100_000  # ImageNet-21k has 21,841
LAST_LABEL = MOST_CLASSES - 1
_LARGEST = (16_384, 16_384, 4096)  # height, width and channels of an image
_LONGEST_NAME = 100  # characters of the name of a class, for tables and pictures
_CHUNK = 1 << 22  # bytes of images per step, since those of a file are read in steps


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """One part of a data set, in the order of its ids.

  Attributes:
    images: uint8 [N, H, W, C]; `FileRows` if they take too much of the memory.
    labels: int32 [N], in 0..classes-1; uint8 or float32 [N, outputs] of other kinds, see
      `labels.py`.
    ids: str [N], unique and ascending, like `'train_00042'`.
  """

  images: np.ndarray
  labels: np.ndarray
  ids: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)

  @functools.cached_property
  def images_digest(self) -> str:
    """Digest of the ids and images, whatever the labels are, 64 hex digits."""
    digest = hashlib.sha256('\n'.join(self.ids.tolist()).encode())
    digest.update(f'{self.images.dtype} {self.images.shape}'.encode())
    _update(digest, self.images)
    return digest.hexdigest()

  def take(self, where: np.ndarray) -> 'Split':
    """Returns the examples at `where`, a boolean mask [N] or integer positions."""
    images: Any = self.images
    images = images.take(where) if isinstance(images, FileRows) else images[where]
    return Split(images, self.labels[where], self.ids[where])


class Parts(NamedTuple):
  """A data set as its source has it, for `load`.

  Attributes:
    train: the training split.
    test: the test split.
    class_names: one name per label.
    validation: the validation split; None: it is cut from the training split.
    notes: what a user should see of how the images were read, by its heading.
    kind, units: see `Dataset`.
  """

  train: Split
  test: Split
  class_names: tuple[str, ...]
  validation: Split | None = None
  notes: tuple[tuple[str, str], ...] = ()
  kind: str = CLASSES
  units: str = ''


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """An image-classification set.

  Attributes:
    name: the name in TFDS, or the user's own.
    class_names: one name per label.
    train: the training split without the validation split.
    validation: the validation split.
    test: the test split.
    clean_labels: int32 [N], the original training labels where label noise or a file of
      labels changed them; else None.
    given: whether a program gave the images, so that no field says where they are.
    notes: as of `Parts`.
    kind: of the labels, one of `labels.KINDS`; `class_names` then name their columns.
    units: unit of the labels of kind `NUMBERS`, or ''.
  """

  name: str
  class_names: tuple[str, ...]
  train: Split
  validation: Split
  test: Split
  clean_labels: np.ndarray | None = None
  given: bool = False
  notes: tuple[tuple[str, str], ...] = ()
  kind: str = CLASSES
  units: str = ''

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height, width and channels of the images."""
    height, width, channels = self.train.images.shape[1:]
    return height, width, channels

  @property
  def flipped(self) -> np.ndarray | None:
    """Mask of the training examples with a changed label, bool [N]; None without noise."""
    return None if self.clean_labels is None else self.clean_labels != self.train.labels

  @functools.cached_property
  def fingerprint(self) -> str:
    """Digest of the ids, labels, image shape and pixels of the training split, 16 hex digits."""
    return _sha256(self.train)[:16]

  @functools.cached_property
  def held_out_fingerprint(self) -> str:
    """Digest of the validation and test splits, like `fingerprint`."""
    both = _sha256(self.validation) + _sha256(self.test)
    return hashlib.sha256(both.encode()).hexdigest()[:16]


def _sha256(split: Split) -> str:
  """Returns the SHA-256 of a split, 64 hex digits."""
  digest = hashlib.sha256('\n'.join(split.ids.tolist()).encode())
  if split.labels.ndim == 1:
    digest.update(split.labels.astype('<i4').tobytes())
  else:
    digest.update(f'{split.labels.dtype} {split.labels.shape}'.encode())
    digest.update(np.ascontiguousarray(split.labels).data)
  digest.update(repr(split.images.shape).encode())
  _update(digest, split.images)
  return digest.hexdigest()


def _update(digest: Any, images: np.ndarray) -> None:
  """Adds the bytes of images to a digest."""
  for start in _starts(images):
    digest.update(np.ascontiguousarray(images[start : start + _per_step(images)]).data)


def _starts(images: np.ndarray) -> range:
  return range(0, len(images), _per_step(images))


def _per_step(images: np.ndarray) -> int:
  """Returns how many images are used at once."""
  return max(1, _CHUNK // max(1, math.prod(images.shape[1:])))


def position_ids(prefix: str, count: int) -> np.ndarray:
  """Returns `prefix_00000`.. as str [count], with leading zeros, so that text order is numeric."""
  width = max(5, len(str(count - 1)))
  return np.array([f'{prefix}_{i:0{width}d}' for i in range(count)], dtype=np.str_)


def sorted_split(images: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> Split:
  """Returns a `Split` sorted by id, so that it does not depend on the order of the source.

  Raises:
    UserError: some ids occur more than once, or cannot be written.
  """
  try:
    '\n'.join(ids.tolist()).encode()
  except UnicodeEncodeError as error:
    raise UserError(f'ids must be text that UTF-8 can write: {error}') from None
  split = Split(images, labels.astype(np.int32) if labels.ndim == 1 else labels, ids)
  if not (ids[1:] > ids[:-1]).all():
    split = split.take(np.argsort(ids, kind='stable'))
  repeated = int((split.ids[1:] == split.ids[:-1]).sum())
  if repeated:
    first = split.ids[1:][split.ids[1:] == split.ids[:-1]][0]
    raise UserError(
      f'ids must be unique, but {repeated} of {len(ids)} repeat, first {str(first)!r}'
    )
  return split


def assemble(
  name: str,
  parts: Parts,
  *,
  given: bool = False,
  validation_size: float,
  split_seed: int,
) -> Dataset:
  """Returns a data set after checks of its splits; cuts the validation split if there is none.

  Args:
    name: the name of the data set.
    parts: as read from the source.
    given: whether a program gave them.
    validation_size: see `split_validation`.
    split_seed: see `split_validation`.

  Raises:
    UserError: a split is empty, image shapes differ or are impossible, there is one class or too
      many, a label is outside the classes, or `validation_size` is too small or too large.
  """
  train, test, class_names, validation, notes, kind, units = parts
  if kind == CLASSES and not 2 <= len(class_names) <= MOST_CLASSES:
    raise classes_error(name, len(class_names))
  for role, split in (('training', train), ('test', test), ('validation', validation)):
    if split is None:
      continue
    if not len(split):
      raise UserError(f'{name}: the {role} split is empty')
    if train.images.shape[1:] != split.images.shape[1:]:
      shapes = f'{train.images.shape[1:]} in training and {split.images.shape[1:]} in {role}'
      raise UserError(f'{name}: image shapes (height, width, channels) differ: {shapes}')
    if kind != CLASSES:
      continue
    outside = (split.labels < 0) | (split.labels >= len(class_names))
    if outside.any():
      raise UserError(
        f'{name}: {outside.sum()} of {len(split)} {role} labels lie outside '
        f'0..{len(class_names) - 1}, first {split.labels[outside][0]}'
      )
  shape = train.images.shape[1:]
  if not all(1 <= size <= most for size, most in zip(shape, _LARGEST, strict=True)):
    raise UserError(
      f'{name}: image shapes (height, width, channels) are {shape}; they must be from (1, 1, 1) to'
      f' {_LARGEST}'
    )
  if validation is None:
    train, validation = split_validation(train, validation_size, split_seed)
  names = tuple(map(clean_name, class_names))
  return Dataset(
    *(name, names, train, validation, test), given=given, notes=notes, kind=kind, units=units
  )


def classes_error(name: str, classes: int) -> UserError:
  """Returns the error for a number of classes that no network can separate."""
  return UserError(
    f'{name} has {classes:,} classes; it must have from 2 to {MOST_CLASSES:,} to train a classifier'
  )


def clean_name(name: str) -> str:
  """Returns the name of a class as one line of at most 100 characters that every font can draw.

  >>> clean_name('  red  fox ')
  'red fox'
  """
  text = ''.join(
    '\ufffd' if unicodedata.category(character) in ('Cc', 'Cs', 'Cn') else character
    for character in ' '.join(name.split())
  )
  return text if len(text) <= _LONGEST_NAME else f'{text[: _LONGEST_NAME - 1]}…'


def split_validation(train: Split, size: float, seed: int) -> tuple[Split, Split]:
  """Cuts a validation split with the class proportions of `train`; at random without classes.

  Args:
    train: the whole training split.
    size, seed: see `held_out`.

  Returns:
    The rest of `train`, and the validation split; both keep the order of `train`.

  Raises:
    UserError: as `held_out`.
  """
  cut = held_out(train.labels, size, seed, 'data.validation_size')
  return train.take(~cut), train.take(cut)


def held_out(
  labels: np.ndarray, size: float, seed: int | tuple[int, ...], field: str
) -> np.ndarray:
  """Chooses images to cut from the training split, in equal shares of each class.

  Args:
    labels: int32 [N], of the training split.
    size: number of images to cut, 1..N-1, or their share, below 1.
    seed: of the choice of images in each class; class sizes do not depend on it.
    field: that holds the size, for the message.

  Returns:
    Mask of the images that are cut, bool [N].

  Raises:
    UserError: `size` is outside 1..N-1, or leaves a class without training examples.
  """
  size = validation_count(size, len(labels))
  if not 1 <= size < len(labels):
    raise UserError(
      f'{field} is {size}, with {len(labels)} training examples; '
      f'choose a size from 1 to {len(labels) - 1}, or a share below 1'
    )
  generator = np.random.default_rng(seed)
  cut = np.zeros(len(labels), bool)
  if labels.ndim > 1:
    cut[generator.permutation(len(labels))[:size]] = True
    return cut
  counts = np.bincount(labels)
  shares = _proportional(counts, size)
  emptied = np.flatnonzero((shares == counts) & (counts > 0))
  if len(emptied):
    remedy = 'choose a smaller size' if size > 1 else 'add images, since each split needs some'
    raise UserError(
      f'{field} is {size}, which leaves no training example of {len(emptied)} classes'
      f' (label {emptied[0]} has {counts[emptied[0]]}); {remedy}'
    )
  for label, share in enumerate(shares):
    members = np.flatnonzero(labels == label)
    cut[generator.permutation(members)[:share]] = True
  return cut


def validation_count(size: float, total: int) -> int:
  """Returns the number of images that are cut for validation.

  Args:
    size: number of images, or their share, below 1, of the training split.
    total: number of images of the training split.

  >>> validation_count(0.1, 50_000), validation_count(200, 1_438)
  (5000, 200)
  """
  return max(1, round(size * total)) if 0 < size < 1 else int(size)


def _proportional(counts: np.ndarray, size: int) -> np.ndarray:
  """Returns integers near `counts * size / sum(counts)` that sum to `size` (largest remainder)."""
  shares, remainders = np.divmod(counts * size, counts.sum())
  largest = np.argsort(-remainders, kind='stable')[: size - shares.sum()]
  shares[largest] += 1
  return shares


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean and standard deviation of each channel, exact up to the final rounding.

  Args:
    images: uint8 [N, H, W, C].

  Returns:
    Mean and standard deviation of pixels scaled to 0..1, float32 [C]. The deviation is at least
    one grey level (1/255), so that a constant channel can be divided by it.
  """
  channels = images.shape[-1]
  total = np.zeros(channels, np.int64)
  squares = np.zeros(channels, np.int64)
  for start in _starts(images):
    pixels = images[start : start + _per_step(images)].reshape(-1, channels)
    for channel in range(channels):
      counts = np.bincount(pixels[:, channel], minlength=256)
      total[channel] += counts @ np.arange(256)
      squares[channel] += counts @ np.arange(256) ** 2
  count = images.size // channels
  mean = total / count
  std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
  return (mean / 255).astype(np.float32), (std / 255).astype(np.float32)
