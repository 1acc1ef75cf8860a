"""Images that a Python program gives: any object with `len` and `[i] -> (image, label)`."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import operator
import tempfile
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from mecl_jax.data import arrays, cache, dataset, labels, pictures
from mecl_jax.data.dataset import Parts, Split
from mecl_jax.data.labels import CLASSES, KINDS, NUMBERS
from mecl_jax.data.progress import Show, on_stderr
from mecl_jax.data.rows import open_rows
from mecl_jax.errors import UserError, choose, reading

_SIDES = range(1, 4097)  # that `size` may be
_GIVE = 'give a PIL image or uint8 [height, width, channels]'


def check_argument(data: Any) -> None:
  """Checks the type of the argument `data` of a command.

  Raises:
    UserError: it is neither None nor from `from_source` or `load_data`.
  """
  if data is not None and not isinstance(data, Parts | dataset.Dataset):
    raise UserError(
      f'data is a {type(data).__name__}; give mecl_jax.from_source(train, test), or what'
      ' mecl_jax.load_data(..) returns'
    )


def from_source(
  train: Any,
  test: Any,
  validation: Any = None,
  class_names: Sequence[str] | None = None,
  size: int | None = None,
  kind: str = CLASSES,
  units: str = '',
) -> Parts:
  """Reads a data set from objects of a program, for the argument `data` of the commands.

  An object has `len(source)`, and `source[i]` is a pair (image, label), or has the keys `image` and
  `label`: a data set of torchvision or Hugging Face, a list, a Grain source, the records of a data
  frame. It is read once, from 0 up.

  Args:
    train: the training split.
    test: the test split.
    validation: the validation split; None: it is cut from the training split.
    class_names: one name per label; None: those of `train.classes` (torchvision) or
      `train.features['label'].names` (Hugging Face), else numbers.
    size: side in pixels: an image of another size is resized until it covers the square, whose
      centre is taken; None: all images must have one size.
    kind: of the labels: 'classes'; 'binary' for `task=multi_label`, where a label is a list of 0
      and 1; or 'numbers' for `task=regression`, where it is a number or a list of numbers.
      `class_names` are then the names of their columns.
    units: unit of labels that are numbers, as 'cm'.

  Returns:
    The splits. Images are PIL images or uint8 [H, W, C] or [H, W]. PIL images become gray or RGB,
    with what is transparent on white; if some are gray and some are not, all become RGB.

  Raises:
    UserError: an image or a label cannot be used, or a class has no training image.
  """
  if size is not None and size not in _SIDES:
    raise UserError(f'size is {size!r}; it must be None, or a whole number from 1 to 4096')
  choose('kind', kind, KINDS)
  sources = {'train': train, 'test': test, 'validation': validation}
  readers = {
    role: _Reader(role, source, size, kind)
    for role, source in sources.items()
    if source is not None
  }
  channels = max(reader.read(on_stderr) for reader in readers.values())
  splits = {role: reader.split(channels) for role, reader in readers.items()}
  names = class_names
  if names is None and kind == CLASSES:
    names = _own_names(train)
  with reading('class_names'):
    texts = None if names is None else np.array(names, np.str_)
  if kind == CLASSES:
    named = arrays.class_names('the source', texts, splits['train'].labels)
  else:
    outputs = {role: split.labels.shape[1] for role, split in splits.items()}
    if len(set(outputs.values())) > 1:
      found = ', '.join(f'{role} {count}' for role, count in outputs.items())
      raise UserError(f'the labels of all splits must have as many values; they have: {found}')
    named = labels.names('the source', texts, outputs['train'], kind)
  return Parts(
    splits['train'],
    splits['test'],
    tuple(named),
    splits.get('validation'),
    kind=kind,
    units=dataset.clean_name(units) if kind == NUMBERS else '',
  )


def _own_names(source: Any) -> Sequence[str] | None:
  """Returns the class names of a data set of torchvision or Hugging Face; None for others."""
  classes, features = (getattr(source, name, None) for name in ('classes', 'features'))
  if classes is not None:
    return classes
  # Other sources have an array of pixels or a list of columns by this name.
  return getattr(features.get('label'), 'names', None) if isinstance(features, Mapping) else None


class _Reader:
  """Reads a source into an unnamed file of the cache folder, which ends with the process."""

  def __init__(self, role: str, source: Any, size: int | None, kind: str):
    self._role, self._source, self._size, self._kind = role, source, size, kind
    self._file: BinaryIO = _unnamed_file()
    self._shape: tuple[int, ...] = ()
    self._labels: list[Any] = []

  def read(self, show: Show) -> int:
    """Reads all images; returns the number of their channels."""
    if not (hasattr(self._source, '__len__') and hasattr(self._source, '__getitem__')):
      kind = type(self._source).__name__
      raise UserError(f'{self._role} is {kind}; it must have a length and be indexed by numbers')
    count = len(self._source)
    if not count:
      raise UserError(f'{self._role} is empty; it must have at least one image')
    with show(f'reading {self._role}', count) as on_images, pictures.warnings_as_errors():
      for index in range(count):
        self._add(index)
        on_images(index + 1)
    return self._shape[2]

  def split(self, channels: int) -> Split:
    """Returns the split, with gray images repeated to `channels`."""
    if (self._shape[2], channels) == (1, 3):
      self._widen(channels)
    count = len(self._labels)
    with _writing():
      self._file.flush()
    images = open_rows(self._file, (count, *self._shape))  # type: ignore[arg-type]
    ids = dataset.position_ids(self._role, count)
    if self._kind == CLASSES:
      return Split(images, np.array(self._labels, np.int32), ids)
    return Split(
      images, labels.checked(self._role, 'labels', np.array(self._labels), self._kind), ids
    )

  def _add(self, index: int) -> None:
    where = f'{self._role}[{index}]'
    with reading(where):
      item = self._source[index]
    image, label = _pair(item, where)
    pixels = _pixels(image, where)
    if self._size:
      pixels = pictures.fit(pixels, self._size, self._size)
    self._shape = self._shape or pixels.shape
    if pixels.shape[:2] != self._shape[:2]:
      raise UserError(
        f'{where} has {pixels.shape[0]}x{pixels.shape[1]} pixels, and the images before it have'
        f' {self._shape[0]}x{self._shape[1]}; give size=SIDE to resize all of them'
      )
    if pixels.shape[2] != self._shape[2]:
      if {pixels.shape[2], self._shape[2]} != {1, 3}:
        raise UserError(
          f'{where} has {pixels.shape[2]} channels, and the images before it have {self._shape[2]}'
        )
      if self._shape[2] == 1:
        self._widen(3)
      pixels = np.broadcast_to(pixels, self._shape)
    with _writing():
      self._file.write(pixels.tobytes())
    self._labels.append(self._checked(label, where))

  def _checked(self, label: Any, where: str) -> Any:
    """Returns a label as an int, or as numbers [outputs]; one of another kind is an error."""
    if self._kind == CLASSES:
      return _label(label, where)
    with reading(where):
      found = np.asarray(label)
    if found.dtype.kind not in 'biuf' or found.ndim > 1:
      raise UserError(f'{where} has the label {label!r:.80}; labels must be {self._kind}')
    found = found.reshape(-1)
    if self._labels and found.shape != self._labels[0].shape:
      raise UserError(
        f'{where} has {len(found)} labels, and the images before it have {len(self._labels[0])}'
      )
    return found

  def _widen(self, channels: int) -> None:
    """Repeats the gray images that were read."""
    before, image = self._file, self._shape[0] * self._shape[1]
    self._file, self._shape = _unnamed_file(), (*self._shape[:2], channels)
    with _writing(), before:
      before.seek(0)
      while gray := before.read(image):
        self._file.write(np.repeat(np.frombuffer(gray, np.uint8), channels).tobytes())


def _unnamed_file() -> BinaryIO:
  folder = cache.directory()
  with _writing():
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)  # type: ignore[return-value]


@contextlib.contextmanager
def _writing() -> Iterator[None]:
  """Turns errors of the disk that holds the cache folder into one line."""
  try:
    yield
  except OSError as error:
    raise UserError(
      f'{cache.directory()} cannot be written: {error.strerror}; set XDG_CACHE_HOME to another'
      ' folder'
    ) from None


def _pair(item: Any, where: str) -> tuple[Any, Any]:
  """Returns the image and the label of an item of a source."""
  if hasattr(item, 'keys'):
    keys = list(map(str, item.keys()))
    if {'image', 'label'} <= set(keys):
      return item['image'], item['label']
    found = f'it has the keys {", ".join(keys[:10])}'
  elif isinstance(item, tuple | list) and len(item) == 2:
    return item[0], item[1]
  else:
    found = f'it is {type(item).__name__}'
  raise UserError(f'{where} must be (image, label), or have the keys image and label; {found}')


def _pixels(image: Any, where: str) -> np.ndarray:
  """Returns an image as uint8 [H, W, C].

  Raises:
    UserError: it is of another kind.
  """
  if isinstance(image, Image.Image):
    # Only in a PNG file, where some versions of Pillow read 16 bits as I, is the range known.
    if image.mode == 'F' or (image.mode == 'I' and image.format != 'PNG'):
      raise UserError(
        f'{where} has the mode {image.mode} of PIL, whose values have no fixed range; give a PIL'
        ' image of mode L or RGB, or uint8 [height, width, channels]'
      )
    with reading(where):
      upright = ImageOps.exif_transpose(image)
      return pictures.flatten(upright, pictures.channels_of(upright))
  kind = type(image).__module__.partition('.')[0]
  if kind == 'torch':  # also of uint8, since its axes are channels, height, width
    raise UserError(f'{where} is a tensor of PyTorch; leave out ToTensor(), or {_GIVE}')
  with reading(where, _GIVE):
    array = np.asarray(image)
  if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size:
    raise UserError(f'{where} is {array.dtype} {list(array.shape)}; {_GIVE}')
  return array.reshape(*array.shape[:2], -1)


def _label(label: Any, where: str) -> int:
  try:
    number = operator.index(label)
  except TypeError:
    raise UserError(
      f'{where} has the label {label!r}; labels must be whole numbers from 0, which class_names can'
      ' name'
    ) from None
  if not 0 <= number <= dataset.LAST_LABEL:
    raise UserError(f'{where} has the label {number}; it must be from 0 to {dataset.LAST_LABEL}')
  return number
