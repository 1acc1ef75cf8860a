"""Errors of a disk or of permissions, as one line that says what to do."""

from collections.abc import Iterator
import contextlib
import errno
import os
import pathlib
import re

from mecl_jax.errors import RunError, UserError

LOCK = '.lock'  # the file by which a process holds a work directory

_AGAIN = 'and run the same command again to resume'
_WHAT_TO_DO = {
  errno.ENOSPC: f'no space or no inodes are left on its device; free some, {_AGAIN}',
  errno.EDQUOT: f'the disk quota is used up; free some space, {_AGAIN}',
  errno.EFBIG: f'a file would be larger than is allowed; raise the limit (ulimit -f), {_AGAIN}',
  errno.EROFS: f'its file system is read-only; make it writable, {_AGAIN}',
  errno.EIO: f'its device reports an error; check the device, {_AGAIN}',
  errno.ESTALE: f'its network file system was disconnected; connect it, {_AGAIN}',
  errno.EMFILE: f'too many files are open; raise the limit (ulimit -n), {_AGAIN}',
}
# These errors are those of the machine only if the file lies in the work directory.
_OF_A_FILE = {
  errno.EACCES: 'permission denied; change the permissions',
  errno.EPERM: 'permission denied; change the permissions',
  errno.ENOENT: 'a file or folder is missing; restore it',
  errno.EEXIST: 'a file is where a folder should be; move it',
  errno.ENOTDIR: 'a file is where a folder should be; move it',
  errno.EISDIR: 'a folder is where a file should be; move it',
  errno.ENOTEMPTY: 'a folder is not empty that another program may be changing',
}


@contextlib.contextmanager
def one_line_errors(workdir: pathlib.Path) -> Iterator[None]:
  """Turns errors of the disk that holds a work directory into a RunError of one line.

  Errors of other kinds, as those of a bug, are raised as they are.

  Args:
    workdir: held by this process, see `LOCK`.
  """
  try:
    yield
  except Exception as error:
    line = _explain(error, workdir)
    if line is None:
      raise
    raise RunError(line) from error


def check_there(workdir: pathlib.Path) -> None:
  """Checks that a work directory was not removed or renamed since it was locked.

  Raises:
    RunError: it was; writing to it would make a folder without the earlier files of the run.
  """
  if not (workdir / LOCK).exists():
    raise RunError(_gone(workdir))


def _gone(workdir: pathlib.Path) -> str:
  return (
    f'the work directory {workdir} was removed or renamed while it was used; run the same command'
    ' again with the --workdir that it has now to resume'
  )


def _explain(error: BaseException, workdir: pathlib.Path) -> str | None:
  """Returns one line for an error of the disk; None for another error."""
  if not isinstance(error, OSError | ValueError | RuntimeError | RunError | UserError):
    return None  # a bug, even if it is one in the treatment of an error of the disk
  if not (workdir / LOCK).exists():
    return _gone(workdir)
  for link in chain(error):
    number, file = system_error(link)
    inside = bool(file) and _inside(file, workdir)
    if number in _WHAT_TO_DO:  # a user knows the folder, but not a temporary file in it
      place = file if file and not inside else workdir
      return f'{place} cannot be read or written: {_WHAT_TO_DO[number]}'
    if number in _OF_A_FILE and inside and not isinstance(error, UserError):  # it is one line
      return f'{file} cannot be read or written: {_OF_A_FILE[number]}, {_AGAIN}'
  return None


def chain(error: BaseException) -> Iterator[BaseException]:
  """Yields an error, and those that it was raised from or after."""
  link: BaseException | None = error
  while link is not None:
    yield link
    link = link.__cause__ or link.__context__


def system_error(error: BaseException) -> tuple[int | None, str]:
  """Returns the number of an error of the system, and the path of its file, '' if unknown.

  TensorStore raises a ValueError with the number in its message.
  """
  if isinstance(error, OSError) and error.errno:
    return error.errno, os.fsdecode(error.filename or '') if _is_path(error.filename) else ''
  found = re.search(r"os_error_code='(\d+)'", str(error))
  file = re.search(r'"(/[^"]*)"', str(error))
  return (int(found[1]), file[1] if file else '') if found else (None, '')


def _is_path(name: object) -> bool:
  return isinstance(name, str | bytes)


def _inside(file: str, workdir: pathlib.Path) -> bool:
  return pathlib.Path(file).absolute().is_relative_to(workdir.absolute())
