"""Atomic writes: to a temporary file in the same folder, which is then renamed."""

from collections.abc import Iterator, Mapping
import contextlib
import json
import os
import pathlib
import tempfile
from typing import Any, BinaryIO

import numpy as np


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Opens a binary file that gets the name `path` only if the block ends without an error."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
  try:
    with os.fdopen(handle, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes text as UTF-8, atomically."""
  with atomic(path) as file:
    file.write(text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes a value as indented JSON, atomically."""
  write_text(path, json.dumps(value, indent=2) + '\n')


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays, atomically; arrays of objects, which need pickle, are an error."""
  # NumPy 2.0 has no `allow_pickle` here, and would save it as one of the arrays.
  for name, array in arrays.items():
    if np.asarray(array).dtype.hasobject:
      raise ValueError(f'{path}: the array {name} has objects; only numbers and text can be saved')
  with atomic(path) as file:
    np.savez(file, **arrays)  # type: ignore[arg-type]  # no array is named `allow_pickle`
