"""Data sets as plain arrays, the validation split, and channel statistics."""

import dataclasses
import functools
import hashlib
import unicodedata

import numpy as np

from mecl_jax.data.labels import CLASSES
from mecl_jax.errors import UserError

MOST_CLASSES = 100_000  # ImageNet-21k has 21,841
LAST_LABEL = MOST_CLASSES - 1
_LARGEST = (16_384, 16_384, 4096)  # height, width and channels of an image
_LONGEST_NAME = 100  # characters of the name of a class, for tables and pictures
_CHUNK = 4096  # images per step, so that widened copies stay in tens of megabytes


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """One part of a data set, in the order of its ids.

  Attributes:
    images: uint8 [N, H, W, C].
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
    digest.update(np.ascontiguousarray(self.images).data)
    return digest.hexdigest()

  def take(self, where: np.ndarray) -> 'Split':
    """Returns the examples at `where`, a boolean mask [N] or integer positions."""
    return Split(self.images[where], self.labels[where], self.ids[where])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
  """An image-classification set; its validation split is cut from the training split.

  Attributes:
    name: the name in TFDS, or the user's own.
    class_names: one name per label.
    train: the training split without the validation split.
    validation: the validation split.
    test: the test split.
    clean_labels: int32 [N], the original training labels where label noise or a file of
      labels changed them; else None.
    kind: of the labels, one of `labels.KINDS`; `class_names` then name their columns.
    units: unit of the labels of kind `NUMBERS`, or ''.
  """

  name: str
  class_names: tuple[str, ...]
  train: Split
  validation: Split
  test: Split
  clean_labels: np.ndarray | None = None
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
  digest.update(np.ascontiguousarray(split.images).data)
  return digest.hexdigest()


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
  class_names: tuple[str, ...],
  train: Split,
  test: Split,
  *,
  validation_size: float,
  split_seed: int,
  kind: str = CLASSES,
  units: str = '',
) -> Dataset:
  """Returns a data set after checks of its splits; cuts the validation split from `train`.

  Args:
    name: the name of the data set.
    class_names: one name per label.
    train: the whole training split.
    test: the test split.
    validation_size: see `split_validation`.
    split_seed: see `split_validation`.
    kind, units: see `Dataset`.

  Raises:
    UserError: a split is empty, image shapes differ or are impossible, there is one class or too
      many, a label is outside the classes, or `validation_size` is too small or too large.
  """
  if kind == CLASSES and not 2 <= len(class_names) <= MOST_CLASSES:
    raise classes_error(name, len(class_names))
  for role, split in (('training', train), ('test', test)):
    if not len(split):
      raise UserError(f'{name}: the {role} split is empty')
    if kind != CLASSES:
      continue
    outside = (split.labels < 0) | (split.labels >= len(class_names))
    if outside.any():
      raise UserError(
        f'{name}: {outside.sum()} of {len(split)} {role} labels lie outside '
        f'0..{len(class_names) - 1}, first {split.labels[outside][0]}'
      )
  if train.images.shape[1:] != test.images.shape[1:]:
    shapes = f'{train.images.shape[1:]} in training and {test.images.shape[1:]} in test'
    raise UserError(f'{name}: image shapes (height, width, channels) differ: {shapes}')
  shape = train.images.shape[1:]
  if not all(1 <= size <= most for size, most in zip(shape, _LARGEST, strict=True)):
    raise UserError(
      f'{name}: image shapes (height, width, channels) are {shape}; they must be from (1, 1, 1) to'
      f' {_LARGEST}'
    )
  train, validation = split_validation(train, validation_size, split_seed)
  names = tuple(map(clean_name, class_names))
  return Dataset(name, names, train, validation, test, kind=kind, units=units)


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
    size: number of examples to cut, 1..N-1, or their share, below 1.
    seed: seed of the choice of examples in each class; class sizes do not depend on it.

  Returns:
    The rest of `train`, and the validation split; both keep the order of `train`.

  Raises:
    UserError: `size` is outside 1..N-1, or leaves a class without training examples.
  """
  size = validation_count(size, len(train))
  if not 1 <= size < len(train):
    raise UserError(
      f'data.validation_size is {size}, with {len(train)} training examples; '
      f'choose a size from 1 to {len(train) - 1}, or a share below 1'
    )
  generator = np.random.default_rng(seed)
  held_out = np.zeros(len(train), bool)
  if train.labels.ndim > 1:
    held_out[generator.permutation(len(train))[:size]] = True
    return train.take(~held_out), train.take(held_out)
  counts = np.bincount(train.labels)
  shares = _proportional(counts, size)
  emptied = np.flatnonzero((shares == counts) & (counts > 0))
  if len(emptied):
    raise UserError(
      f'data.validation_size is {size}, which leaves no training example of {len(emptied)} classes'
      f' (label {emptied[0]} has {counts[emptied[0]]}); choose a smaller size'
    )
  for label, share in enumerate(shares):
    members = np.flatnonzero(train.labels == label)
    held_out[generator.permutation(members)[:share]] = True
  return train.take(~held_out), train.take(held_out)


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
  for start in range(0, len(images), _CHUNK):
    pixels = images[start : start + _CHUNK].reshape(-1, channels)
    for channel in range(channels):
      counts = np.bincount(pixels[:, channel], minlength=256)
      total[channel] += counts @ np.arange(256)
      squares[channel] += counts @ np.arange(256) ** 2
  count = images.size // channels
  mean = total / count
  std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
  return (mean / 255).astype(np.float32), (std / 255).astype(np.float32)
