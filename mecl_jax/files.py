"""Files that are never half written: a temporary neighbour first, then a rename."""

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
  """Opens a binary file that takes the name `path` only when the block ends without an error."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp')
  try:
    with os.fdopen(handle, 'wb') as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o644)  # mkstemp makes files that only the owner can read
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise


def write_text(path: str | os.PathLike, text: str) -> None:
  with atomic(path) as file:
    file.write(text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
  write_text(path, json.dumps(value, indent=2) + '\n')


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes plain arrays (no objects, so nothing needs pickle to be read back)."""
  with atomic(path) as file:
    np.savez(file, allow_pickle=False, **arrays)
