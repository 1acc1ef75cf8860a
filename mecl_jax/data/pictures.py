"""Reading of PNG, JPEG and WebP files by Pillow, and of Pillow's images, as arrays of one shape."""

from collections.abc import Callable, Iterator
import contextlib
import errno
import pathlib
from typing import NamedTuple, TypeVar
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mecl_jax.errors import UserError, first_line

FORMATS = ('PNG', 'JPEG', 'WEBP')
SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')
_GRAY_MODES = ('1', 'L', 'LA', 'La', 'I', 'F')  # of Pillow, and those of 16 bits
_WITH_ALPHA = ('LA', 'La', 'PA', 'RGBA', 'RGBa')
_TURNED = (5, 6, 7, 8)  # values of the EXIF orientation that exchange height and width

Result = TypeVar('Result')


class Header(NamedTuple):
  """What is known of an image before it is decoded.

  Attributes:
    height, width: in pixels, after the EXIF orientation is applied.
    channels: 1 for gray, else 3.
  """

  height: int
  width: int
  channels: int


class Unreadable(NamedTuple):
  """Why a file cannot be used."""

  reason: str


@contextlib.contextmanager
def warnings_as_errors() -> Iterator[None]:
  """Rejects images with more pixels than Pillow's limit, and hides Pillow's other warnings.

  The state of warnings is that of the process, so that threads inside of the context share it.
  """
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    yield


def attempt(function: Callable[..., Result], path: pathlib.Path, *args) -> Result | Unreadable:
  """Returns `function(path, *args)`, or why the content of the file cannot be used.

  Raises:
    UserError: the machine cannot read the file, for example without the permission.
  """
  try:
    return function(path, *args)
  except MemoryError:
    raise
  except UnidentifiedImageError:
    return Unreadable('not a PNG, JPEG or WebP file')
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    return Unreadable(f'more than {Image.MAX_IMAGE_PIXELS:,} pixels, the limit of Pillow')
  except Exception as error:  # Pillow raises nearly any kind for damaged files
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
      raise UserError(f'{path} cannot be read: {error.strerror}') from None
    return Unreadable(first_line(error))


def read_header(path: pathlib.Path) -> Header:
  """Reads size and kind of an image file; Pillow's errors are not caught."""
  with Image.open(path, formats=FORMATS) as image:
    width, height = image.size
    if image.getexif().get(ExifTags.Base.Orientation) in _TURNED:
      width, height = height, width
    return Header(height, width, channels_of(image))


def read_pixels(path: pathlib.Path, height: int, width: int, channels: int) -> np.ndarray:
  """Reads an image file; Pillow's errors are not caught.

  Args:
    path: of the file.
    height, width, channels: of the result, see `fit` and `flatten`.

  Returns:
    uint8 [height, width, channels].
  """
  with Image.open(path, formats=FORMATS) as image:
    # A JPEG with more than twice the pixels that are needed per side is decoded in a smaller size.
    image.draft(None, (2 * max(height, width),) * 2)
    upright = ImageOps.exif_transpose(image)
    return fit(flatten(upright, channels), height, width)


def channels_of(image: Image.Image) -> int:
  """Returns 1 for a gray image, else 3."""
  return 1 if image.mode in _GRAY_MODES or image.mode.startswith('I;16') else 3


def flatten(image: Image.Image, channels: int) -> np.ndarray:
  """Returns the pixels of an image, on white where it is transparent.

  Args:
    image: of Pillow. Gray values of 16 bits are rounded down to 8.
    channels: 1 for gray, 3 for red, green and blue.

  Returns:
    uint8 [H, W, channels].
  """
  if image.mode == 'I' or image.mode.startswith('I;16'):
    image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
  if image.mode in _WITH_ALPHA or 'transparency' in image.info:
    white = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(white, image.convert('RGBA'))
  pixels = np.asarray(image.convert('L' if channels == 1 else 'RGB'))
  return pixels.reshape(*pixels.shape[:2], channels)


def fit(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
  """Returns the centre of an image that has the shape of the result, resized to it.

  Args:
    pixels: uint8 [H, W, C], with any number of channels.
    height, width: of the result, in pixels.

  Returns:
    uint8 [height, width, C]; `pixels` itself if it has this size.
  """
  if pixels.shape[:2] == (height, width):
    return pixels
  if pixels.shape[2] == 3:
    return np.asarray(_fit(pixels, height, width))
  fitted = [np.asarray(_fit(channel, height, width)) for channel in np.moveaxis(pixels, 2, 0)]
  return np.stack(fitted, axis=2)


def _fit(pixels: np.ndarray, height: int, width: int) -> Image.Image:
  image = Image.fromarray(np.ascontiguousarray(pixels))
  return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
