"""The two kinds of errors that a user sees as one line instead of a traceback."""


class UserError(Exception):
  """The input is invalid or cannot be used; the message says what to do (exit code 2)."""

  exit_code = 2


class RunError(Exception):
  """The run failed, for example because the loss became NaN (exit code 1)."""

  exit_code = 1


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
