"""Files of a run: atomic writes with a checksum of the content, and readers that verify it.

A write goes to a temporary file in the same folder, which is then renamed.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import tempfile
import time
from typing import Any, BinaryIO, NoReturn
import zipfile

import numpy as np

from mecl_jax.errors import DamagedFile, MissingFile, UserError, first_line

CHECKSUM = 'checksum'  # of a checked JSON file, and the array of an .npz file, that hold it
_TEMPORARY = re.compile(r'\..+\.[a-z0-9_]{8}\.tmp')  # as `atomic` names its files
MAX_JSON = 64 << 20  # bytes; the files of a run have at most some hundred kB
MAX_INFLATED = 1 << 30  # bytes, of a compressed .npz file

# What to do if the content is as it should be.
_EDITED_JSON = f'if you edited the file yourself, remove its line "{CHECKSUM}"'
_EDITED_NPZ = f'if you changed its arrays yourself, save them without the array "{CHECKSUM}"'


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


def expanded(path: str | os.PathLike) -> pathlib.Path:
  """Returns a path in which `~` is replaced by the home folder.

  Raises:
    UserError: there is no such user.
  """
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise UserError(f'{path}: {first_line(error)}') from None


def clear_temporary_files(folder: pathlib.Path, *, older_than: float = 0.0) -> None:
  """Removes files that a killed `atomic` left in a folder; what cannot be removed is kept.

  Args:
    folder: not those inside of it.
    older_than: seconds since the last change. Without a lock that keeps other processes out, it
      must be more than a write takes.
  """
  before = time.time() - older_than
  with contextlib.suppress(OSError):
    for path in folder.iterdir():
      if _TEMPORARY.fullmatch(path.name) and path.stat().st_mtime <= before:
        path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes text as UTF-8, atomically."""
  with atomic(path) as file:
    file.write(text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Writes a value as indented JSON, atomically."""
  write_text(path, json.dumps(value, indent=2) + '\n')


def write_checked_json(path: str | os.PathLike, fields: Mapping[str, Any]) -> None:
  """Writes a JSON object with its checksum as last field, atomically; `read_json` verifies it."""
  write_json(path, {**fields, CHECKSUM: json_checksum(fields)})


def json_checksum(fields: Mapping[str, Any]) -> str:
  """Returns the SHA-256 of the fields of a JSON object, whatever their order and layout."""
  plain = json.loads(json.dumps(fields))  # as they are read: keys are text, tuples are lists
  return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_json(path: str | os.PathLike, *, again: str = '') -> dict[str, Any]:
  """Reads a JSON object, and verifies its checksum if it has one.

  Args:
    path: file to read.
    again: what to do if it is missing or damaged, for the message.

  Returns:
    the fields without the checksum.

  Raises:
    MissingFile: there is no such file.
    DamagedFile: it is not a JSON object, or its checksum differs.
    UserError: it cannot be read now, for example without the permission.
  """
  with _one_line_errors(path, 'JSON', again):
    with open(path, 'rb') as file:
      data = file.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
      raise ValueError(f'it has more than {MAX_JSON >> 20} MB')
    fields = json.loads(data)
    if not isinstance(fields, dict):
      raise ValueError('it does not hold an object')
    expected = fields.pop(CHECKSUM, None)
    if expected is not None and expected != json_checksum(fields):
      _differs(path, _EDITED_JSON, again)
    return fields


def check_types(
  path: str | os.PathLike, fields: Mapping[str, Any], types: Mapping[str, Any], *, again: str = ''
) -> None:
  """Checks the types of fields that were read from a JSON file.

  Args:
    path: of the file, for the message.
    fields: that were read.
    types: for each field that is needed, a type or a union of types.
    again: what to do if they are wrong, for the message.

  Raises:
    DamagedFile: a field is missing or has another type.
  """
  for name, expected in types.items():
    if name not in fields:
      raise DamagedFile(_join(f'{path} is damaged: it lacks {name}', again))
    if not isinstance(fields[name], expected):
      raise DamagedFile(_join(f'{path} is damaged: {name} is {fields[name]!r:.80}', again))


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays and their checksum, atomically; `read_npz` verifies it.

  Raises:
    ValueError: an array has objects, which need pickle, or has the name of the checksum.
  """
  # NumPy 2.0 has no `allow_pickle` here, and would save it as one of the arrays.
  for name, array in arrays.items():
    if np.asarray(array).dtype.hasobject:
      raise ValueError(f'{path}: the array {name} has objects; only numbers and text can be saved')
    if name == CHECKSUM:
      raise ValueError(f'{path}: no array can have the name {CHECKSUM}')
  checked = {**arrays, CHECKSUM: np.array(arrays_checksum(arrays))}
  with atomic(path) as file:
    np.savez(file, **checked)  # type: ignore[arg-type]  # no array is named `allow_pickle`


def arrays_checksum(arrays: Mapping[str, Any]) -> str:
  """Returns the SHA-256 of the names, dtypes, shapes and bytes of arrays, whatever their order."""
  digest = hashlib.sha256()
  for name in sorted(arrays):
    array = np.asarray(arrays[name])
    digest.update(f'{name}\0{array.dtype.str}\0{array.dtype.name}\0{array.shape}\0'.encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return digest.hexdigest()


def read_npz(
  path: str | os.PathLike, *, max_bytes: int = MAX_INFLATED, again: str = ''
) -> dict[str, np.ndarray]:
  """Reads the arrays of an .npz file, and verifies their checksum if the file has one.

  Sizes are checked before anything is read into memory.

  Args:
    path: file to read.
    max_bytes: that the arrays of a compressed file may have together.
    again: what to do if it is missing or damaged, for the message.

  Returns:
    the arrays by name, without the checksum.

  Raises:
    MissingFile: there is no such file.
    DamagedFile: it is not an .npz file of numbers and text, is larger than `max_bytes`, or its
      checksum differs.
    UserError: it cannot be read now, for example without the permission.
  """
  with _one_line_errors(path, '.npz', again), open(path, 'rb') as file:
    limit = max(max_bytes, os.fstat(file.fileno()).st_size)
    with zipfile.ZipFile(file) as archive:
      members = archive.infolist()
      declared = sum(member.file_size for member in members)
      if declared > limit:
        raise ValueError(f'its arrays have {declared:,} bytes, more than {limit:,}')
      if len({member.filename for member in members}) < len(members):
        raise ValueError('two arrays have the same name')
      arrays = {m.filename.removesuffix('.npy'): _read_array(archive, m) for m in members}
    expected = arrays.pop(CHECKSUM, None)
    if expected is not None and str(expected) != arrays_checksum(arrays):
      _differs(path, _EDITED_NPZ, again)
    return arrays


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
  """Reads an array whose header fits the size of the member of the archive."""
  with archive.open(member) as file:
    version = np.lib.format.read_magic(file)
    header = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = header[version](file)
    size = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and size != member.file_size - file.tell():
      raise ValueError(f'{member.filename} is {dtype} {list(shape)}, but has another size')
  with archive.open(member) as file:
    array = np.lib.format.read_array(file, allow_pickle=False)
    file.read()  # at the end of the member, zipfile verifies its CRC
  return array


@contextlib.contextmanager
def _one_line_errors(path: str | os.PathLike, kind: str, again: str) -> Iterator[None]:
  """Turns errors of reading into errors of one line."""
  try:
    yield
  except (UserError, MemoryError):
    raise
  except (FileNotFoundError, NotADirectoryError):
    raise MissingFile(_join(f'{path} does not exist', again)) from None
  except OSError as error:
    if error.errno != errno.EINVAL:  # a seek to a negative offset that the file names
      raise UserError(f'{path} cannot be read: {error.strerror or first_line(error)}') from None
    raise _damaged(path, kind, error, again) from None
  except Exception as error:  # json, zipfile and NumPy raise many kinds for damaged bytes
    raise _damaged(path, kind, error, again) from None


def _damaged(path: str | os.PathLike, kind: str, error: Exception, again: str) -> DamagedFile:
  return DamagedFile(_join(f'{path} is not a {kind} file: {first_line(error)}', again))


def _differs(path: str | os.PathLike, *what_to_do: str) -> NoReturn:
  found = f'{path} is damaged: its checksum differs from that of its content'
  raise DamagedFile(_join(found, *what_to_do))


def _join(*parts: str) -> str:
  return '; '.join(filter(None, parts))
