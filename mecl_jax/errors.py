"""The kinds of errors that a user sees as one line instead of a traceback."""

from collections.abc import Iterator
import contextlib

# The hint beside an unknown name of a backbone.
OWN_BACKBONE = (
  'a network of your own is named by the function that makes it, as my_package.my_module:make;'
  ' in Python, call mecl_jax.register_backbone(NAME, make) first'
)


class UserError(Exception):
  """The input is invalid or cannot be used; the message says what to do (exit code 2)."""

  exit_code = 2


class MissingFile(UserError):
  """There is no such file."""


class DamagedFile(UserError):
  """The content of a file is not what was written, or the file is of another kind.

  Errors of the machine, such as a missing permission or a failing disk, are plain `UserError`s: the
  file may be whole.
  """


class RunError(Exception):
  """The run failed, for example because the loss became NaN (exit code 1)."""

  exit_code = 1


def first_line(error: BaseException) -> str:
  """Returns the first line of an error's message, at most 200 characters; without one, its kind."""
  return (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextlib.contextmanager
def reading(what: str, remedy: str = '') -> Iterator[None]:
  """Turns every error of a library that reads a file of others into one line.

  The block must hold calls of that library only, so that no error of this package is hidden.
  Damaged files raise nearly any kind of error in h5py, TFDS and Pillow.

  Args:
    what: the file, for the message.
    remedy: what to do, for the message.

  Raises:
    DamagedFile: the block raised an error.
  """
  try:
    yield
  except (UserError, RunError):
    raise
  except Exception as error:
    reason = 'it needs more memory than there is' if isinstance(error, MemoryError) else ''
    line = f'{what} cannot be read: {reason or first_line(error)}'
    raise DamagedFile('; '.join(filter(None, (line, remedy)))) from error


def choose(what: str, value: str, choices) -> str:
  """Returns `value` if it is one of `choices`.

  Args:
    what: name of the field, for the message, as 'curriculum.order'.
    value: to check.
    choices: the valid values.

  Raises:
    UserError: the value is not valid; the message lists those that are.
  """
  choices = tuple(choices)
  if value not in choices:
    raise UserError(f'{what} is {value!r}; choose one of: {", ".join(map(str, choices))}')
  return value
