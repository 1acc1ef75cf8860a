"""The two kinds of failure that a user sees as one line instead of a traceback."""


class UserError(Exception):
  """What was asked for is impossible or misspelt; the message says what to do (exit code 2)."""

  exit_code = 2


class RunError(Exception):
  """The run itself went wrong, as by a loss that is not a number (exit code 1)."""

  exit_code = 1


def choose(what: str, value: str, choices) -> str:
  """Returns `value` if it is one of `choices`.

  Args:
    what: the name of the thing chosen, for the message (`'curriculum.order'`).
    value: what the user wrote.
    choices: an iterable of the valid values.

  Raises:
    UserError: names the valid values.
  """
  choices = tuple(choices)
  if value not in choices:
    raise UserError(f'{what} is {value!r}; choose one of: {", ".join(map(str, choices))}')
  return value
