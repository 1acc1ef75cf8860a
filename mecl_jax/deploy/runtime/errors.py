"""The error of all parts: one line for the user."""

from __future__ import annotations

from typing import Any


class BundleError(ValueError):
  """The bundle or the input cannot be used; the message is one line that says what to do."""


def need(condition: Any, message: str) -> None:
  """Raises BundleError with a message if a condition does not hold."""
  if not condition:
    raise BundleError(message)


def first_line(error: BaseException) -> str:
  """Returns the first line of an error's message, at most 200 characters; else its kind."""
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
