"""Downloads that never hang: a probe before, and time-outs during."""

from collections.abc import Iterator
import contextlib
import queue
import threading

import requests

_PROBE_SECONDS = 5.0  # a name server or a firewall that drops packets may hold a call for minutes
_SOCKET_SECONDS = 30.0  # without a byte for this long, a download has stalled
_RETRIES = 2


def probe(url: str) -> str:
  """Asks for `url` once, by the proxies of the environment, and reads nothing of it.

  Returns:
    '' if the server answers, else the reason in a few words, after 5 seconds at most.
  """
  answers: queue.Queue[str] = queue.Queue()

  def ask() -> None:
    try:
      with requests.get(url, stream=True, timeout=_PROBE_SECONDS) as response:
        answers.put('' if response.ok else f'it answered with status {response.status_code}')
    except requests.RequestException as error:
      answers.put(f'no connection: {_cause(error)}')

  # No time-out of a socket covers the look-up of its name, hence a thread that can be left.
  threading.Thread(target=ask, daemon=True).start()
  try:
    return answers.get(timeout=_PROBE_SECONDS)
  except queue.Empty:
    return f'no answer within {_PROBE_SECONDS:.0f} s'


def _cause(error: BaseException) -> str:
  """The innermost reason of a chain of wrapped errors, as the operating system words it."""
  while error.__context__ is not None:
    error = error.__context__
  return getattr(error, 'strerror', None) or type(error).__name__


@contextlib.contextmanager
def bounded() -> Iterator[None]:
  """Gives requests made inside the block, as by TFDS, a time-out and few retries.

  TFDS sets no time-out and retries for minutes; a stalled download would hold the program
  for ever.
  """
  send = requests.adapters.HTTPAdapter.send

  def bounded_send(adapter, request, *, timeout=None, **kwargs):
    adapter.max_retries = adapter.max_retries.new(total=_RETRIES)
    return send(adapter, request, timeout=timeout or _SOCKET_SECONDS, **kwargs)

  requests.adapters.HTTPAdapter.send = bounded_send  # type: ignore
  try:
    yield
  finally:
    requests.adapters.HTTPAdapter.send = send  # type: ignore
