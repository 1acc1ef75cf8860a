"""A small HTTP server that runs the segments of a bundle behind an exit, without JAX.

  python -m mecl_jax.deploy.server BUNDLE [--port=8000] [--host=127.0.0.1] [--threads=1]

A device sends the features of one image to POST /answer, and gets the logits of a later exit:

  /answer?bundle=ID&start=1&stop=2&as=float16

`bundle` identifies bundle.json, `start` is the number of the first segment that runs here, `stop`
that of the exit that answers, and `as` the precision of the features, or a bottleneck. Body and
answer are plain numbers (`runtime/wire.py`), of a length that both sides know; nothing is
unpickled. GET /health answers `ok`. The server has no encryption and no passwords: use it in a
network that you trust, or behind a proxy that has both.
"""

import argparse
import asyncio
from collections.abc import Sequence
import itertools
import pathlib
import signal
import socket
import sys
import threading
from typing import Any, NamedTuple

from mecl_jax.deploy.installed import check_can_serve
from mecl_jax.deploy.runtime.errors import BundleError
from mecl_jax.deploy.runtime.files import identity_of
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.rules import finite
from mecl_jax.deploy.runtime.wire import body_length, codings_of, unpack
from mecl_jax.errors import UserError

BODY_SECONDS = 10  # that the head or the body of a request may take to arrive
MOST_REQUESTS = 64  # at the same time; more are refused with 503


class Refused(Exception):
  """A request that cannot be answered.

  Args:
    status: of HTTP.
    reason: one line for the body of the answer.
  """

  def __init__(self, status: int, reason: str):
    super().__init__(reason)
    self.status = status


class Request(NamedTuple):
  """What a device asks for: the segments `start` to `stop`, on features that are sent in a way."""

  start: int
  stop: int
  send_as: str


def parse(bundle: dict[str, Any], query: Any) -> Request:
  """Reads the query of a request.

  Args:
    bundle: the fields of bundle.json.
    query: name to text.

  Raises:
    Refused: it is for another bundle, or not valid.
  """
  if query.get('bundle') != identity_of(bundle):
    raise Refused(409, f'this server has the bundle {identity_of(bundle)}')
  last = len(bundle['exits']) - 1
  numbers = {str(number): number for number in range(last + 1)}
  start, stop = (numbers.get(query.get(name, ''), -1) for name in ('start', 'stop'))
  if not 0 <= start <= stop:
    raise Refused(400, f'start and stop must be numbers of segments, 0 to {last}, in this order')
  codings = codings_of(bundle, start)
  if query.get('as') not in codings:
    raise Refused(400, f'as must be one of {", ".join(codings)}')
  return Request(start, stop, query['as'])


def check_length(bundle: dict[str, Any], request: Request, headers: Any) -> int:
  """Returns the bytes of the body of a request, from its headers alone.

  Raises:
    Refused: they are not given, more than any request has, or not those of this one.
  """
  text = headers.get('content-length', '')
  if not (text.isascii() and text.isdigit()) or 'transfer-encoding' in headers:
    raise Refused(411, 'Content-Length is missing')
  numbers = range(len(bundle['exits']))
  largest = max(
    body_length(bundle, start, each) for start in numbers for each in codings_of(bundle, start)
  )
  if len(text) > 18 or int(text) > largest:
    raise Refused(413, f'the largest body has {largest} bytes')
  expected = body_length(bundle, request.start, request.send_as)
  if int(text) != expected:
    raise Refused(400, f'the body has {int(text)} bytes; it must have {expected}')
  return expected


def run(network: Network, request: Request, body: bytes) -> bytes:
  """Returns the logits of the exit `stop`, float32, as bytes.

  Raises:
    Refused: the body does not hold numbers that the network can answer.
  """
  try:
    x, before = unpack(network.bundle, request.start, request.send_as, body)
    x = network.coders.decode(x, request.start, request.send_as)
    walk = network.walk(x, request.start, before)
    *_, (_, by_exit) = itertools.islice(walk, request.stop - request.start + 1)
    return finite(by_exit[-1]).astype('<f4').tobytes()
  except BundleError as error:
    raise Refused(400, str(error)) from None


def make_app(network: Network) -> Any:
  """Returns the application, for a server of ASGI."""
  from starlette.applications import Starlette
  from starlette.concurrency import run_in_threadpool
  from starlette.requests import ClientDisconnect
  from starlette.requests import Request as Received
  from starlette.responses import PlainTextResponse, Response
  from starlette.routing import Route

  async def answer(received: Received) -> Response:
    try:
      request = parse(network.bundle, received.query_params)
      length = check_length(network.bundle, request, received.headers)
      body = bytearray()
      async with asyncio.timeout(BODY_SECONDS):
        async for part in received.stream():
          body += part
          if len(body) > length:
            raise Refused(413, f'the body has more than {length} bytes')
      logits = await run_in_threadpool(run, network, request, bytes(body))
    except Refused as error:
      # What is left of the body would be read as the next request.
      return PlainTextResponse(str(error), error.status, {'connection': 'close'})
    except TimeoutError:
      return PlainTextResponse('the body came too slowly', 408, {'connection': 'close'})
    except ClientDisconnect:
      return Response(status_code=400)
    return Response(logits, media_type='application/octet-stream')

  async def health(_: Received) -> Response:
    return PlainTextResponse('ok')

  routes = [Route('/answer', answer, methods=['POST']), Route('/health', health, methods=['GET'])]
  return Starlette(routes=routes)


def listen(host: str, port: int) -> socket.socket:
  """Returns a socket that listens; raises UserError if the address cannot be used."""
  try:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family)
  except (OSError, OverflowError) as error:
    raise UserError(f'{host} port {port} cannot be used: {error}') from None


def make_server(network: Network) -> Any:
  """Returns a server of uvicorn, which closes connections that wait too long for a request."""
  import uvicorn
  from uvicorn.protocols.http.h11_impl import H11Protocol

  class Impatient(H11Protocol):
    """A connection that is closed if no request begins in `BODY_SECONDS`, as by slow headers."""

    def connection_made(self, transport: Any) -> None:
      super().connection_made(transport)
      self._watch()

    def _watch(self, before: Any = False) -> None:
      # `cycle` is the last request, None before the first one. A connection that waits, and waited
      # for as long behind the same request (`before`; False: it did not wait), is closed.
      waits = self.cycle is None or self.cycle.response_complete
      if waits and before is self.cycle:
        self.transport.close()
      elif not self.transport.is_closing():
        self.loop.call_later(BODY_SECONDS, self._watch, self.cycle if waits else False)

  config = uvicorn.Config(
    make_app(network),
    http=Impatient,
    ws='none',
    lifespan='off',
    log_config=None,
    access_log=False,
    server_header=False,
    date_header=False,
    limit_concurrency=MOST_REQUESTS,
    timeout_graceful_shutdown=2,
  )
  return uvicorn.Server(config)


def serve(
  bundle: pathlib.Path, host: str, port: int, threads: int, ends_with_input: bool = False
) -> None:
  """Serves a bundle until Ctrl-C or SIGTERM; port 0 is any free one, which is printed.

  Args:
    bundle: its folder.
    host, port: to listen at.
    threads: processor threads of a segment.
    ends_with_input: whether the server also ends when its standard input does.

  Raises:
    BundleError: the bundle cannot be used.
    UserError: a package is missing, or the address cannot be used.
  """
  check_can_serve('the server')
  server = make_server(Network(bundle, threads))

  def end(*_: Any) -> None:
    server.should_exit = True

  # uvicorn handles signals itself while it runs, and raises them again after its shutdown.
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
  if ends_with_input:
    threading.Thread(target=lambda: end(sys.stdin.read()), daemon=True).start()
  with listen(host, port) as listening:
    bound = listening.getsockname()[1]
    address = f'[{host}]' if ':' in host else host
    print(f'{bundle} at http://{address}:{bound}; Ctrl-C ends it', flush=True)
    server.run(sockets=[listening])


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the program; returns its exit code, 2 for input that cannot be used."""
  parser = argparse.ArgumentParser(prog='mecl_jax.deploy.server', description=__doc__)
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.add_argument('bundle', type=pathlib.Path, help='folder of --mode=export')
  parser.add_argument('--host', default='127.0.0.1', help='default: this machine alone')
  parser.add_argument('--port', type=int, default=8000, help='default: 8000')
  parser.add_argument('--threads', type=int, default=1, help='of a segment; default: 1')
  parser.add_argument('--ends-with-input', action='store_true', help=argparse.SUPPRESS)
  options = parser.parse_args(arguments)
  try:
    serve(**vars(options))
  except (BundleError, UserError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
