"""Images in a file that are read when they are used, for data sets larger than the memory."""

import itertools
import math
import os
from typing import Any, BinaryIO

import numpy as np

from mecl_jax.errors import RunError

# Images that take more of the memory that is free stay in their file: loaded ones are copied when
# the validation split is cut, and once more when they are put on the device.
MOST_MEMORY = 1 / 4


class FileRows:
  """Images uint8 [N, H, W, C] in a file.

  Indexing works as for an array, along the first axis, and returns an array in memory.

  Args:
    file: open for reading; holds images [M, H, W, C] without a header.
    image_shape: (height, width, channels).
    rows: int64 [N], the images of the file in their order here.
  """

  dtype = np.dtype(np.uint8)
  ndim = 4

  def __init__(self, file: BinaryIO, image_shape: tuple[int, ...], rows: np.ndarray):
    self._file, self._rows = file, rows
    self.shape = (len(rows), *image_shape)
    self.size = self.nbytes = math.prod(self.shape)

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, where: Any) -> np.ndarray:
    rows = self._rows[where]
    images = np.empty((*rows.shape, *self.shape[1:]), np.uint8)
    flat, pixels = rows.reshape(-1), images.reshape(rows.size, math.prod(self.shape[1:]))
    edges = np.flatnonzero(np.diff(flat, prepend=-2, append=-2) != 1)
    for start, stop in itertools.pairwise(edges):  # neighbours are read at once
      self._read(int(flat[start]) * pixels.shape[1], pixels[start:stop].data.cast('B'))
    return images

  def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    return self[:] if dtype is None else self[:].astype(dtype)

  def take(self, where: np.ndarray) -> 'FileRows':
    """Returns the images at `where`, a mask [N] or positions, without reading them."""
    return FileRows(self._file, self.shape[1:], self._rows[where])

  def _read(self, position: int, into: memoryview) -> None:
    while into:
      # Not a map of the file into memory: a file that was cut would then end the process.
      count = os.preadv(self._file.fileno(), [into], position)
      if not count:
        raise RunError(f'the decoded images in {self._file.name} were cut while they were read')
      position, into = position + count, into[count:]


def open_rows(file: BinaryIO, shape: tuple[int, int, int, int]) -> Any:
  """Returns the images [N, H, W, C] of a file: an array, or `FileRows` if they are large.

  Args:
    file: open for reading, without a header; is closed if the result is an array.
    shape: of the images.
  """
  images = FileRows(file, shape[1:], np.arange(shape[0]))
  if images.nbytes > MOST_MEMORY * available_memory():
    return images
  with file:
    return images[:]


def available_memory() -> int:
  """Returns the bytes of memory that can be used now; where the system does not tell, of all."""
  try:
    with open('/proc/meminfo') as file:
      fields = dict(line.split(':', 1) for line in file)
    return int(fields['MemAvailable'].split()[0]) * 1024
  except (OSError, KeyError, ValueError):
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
