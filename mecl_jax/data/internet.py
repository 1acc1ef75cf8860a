"""Helpers for downloads: a check that a server answers, and a lock between processes."""

from collections.abc import Iterator
import contextlib
import pathlib
import queue
import threading
import urllib.parse

from absl import logging
import filelock
import requests

from mecl_jax.errors import UserError

_PROBE_SECONDS = 5.0  # a silent name server or firewall can block a request for minutes


def check_reachable(name: str, url: str, remedy: str) -> None:
  """Requests the header of `url` once and returns if the server has the file.

  Args:
    name: the data set, for the message.
    url: a file on the server; the proxies of the environment are used.
    remedy: what the user can do without the server, for the message.

  Raises:
    UserError: the server does not answer within 5 seconds, or answers with an error.
  """
  answers: queue.Queue[str] = queue.Queue()

  def request() -> None:
    try:
      with requests.get(url, stream=True, timeout=_PROBE_SECONDS) as response:
        answers.put('' if response.ok else f'it answered with status {response.status_code}')
    except requests.RequestException as error:
      answers.put(f'no connection: {_cause(error)}')

  # A socket's time-out does not cover the look-up of the host name; a thread can be abandoned.
  threading.Thread(target=request, daemon=True).start()
  try:
    reason = answers.get(timeout=_PROBE_SECONDS)
  except queue.Empty:
    reason = f'no answer within {_PROBE_SECONDS:.0f} s'
  if reason:
    host = urllib.parse.urlsplit(url).netloc
    raise UserError(f'{name} cannot be downloaded from {host} ({reason}); {remedy}')


def _cause(error: BaseException) -> str:
  """Returns the innermost reason of a chain of errors, in the operating system's words."""
  while error.__context__ is not None:
    error = error.__context__
  return getattr(error, 'strerror', None) or type(error).__name__


@contextlib.contextmanager
def lock(name: str, folder: pathlib.Path) -> Iterator[None]:
  """Holds a lock in `folder`, so that only one process at a time downloads or prepares a set.

  Args:
    name: the data set.
    folder: where the set is written; it is created if it does not exist.

  Raises:
    UserError: the folder cannot be written.
  """
  file = filelock.FileLock(folder / f'.{name.replace("/", "-")}.lock')
  try:
    folder.mkdir(parents=True, exist_ok=True)
    file.acquire(timeout=1)
  except filelock.Timeout:
    logging.info('waiting for another process that downloads or prepares %s', name)
    file.acquire()
  except OSError as error:
    raise UserError(f'cannot write {name} to {folder}: {error}') from None
  try:
    yield
  finally:
    file.release()


def first_line(error: BaseException) -> str:
  """Returns the first line of an error's message, or its type if it has no message."""
  return (str(error).splitlines() or [type(error).__name__])[0]
