"""The kinds of errors that a user sees as one line instead of a traceback."""


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
