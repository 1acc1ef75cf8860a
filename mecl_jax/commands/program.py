"""What the programs of this project share: flags, one-line errors, exit codes."""

from collections.abc import Callable, Iterator
import contextlib
import logging
import os
import sys
import threading
import traceback
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging

from mecl_jax.errors import RunError, UserError
from mecl_jax.training import interruption


def parse(argv: list[str], explain: Callable[[list[str]], str | None] = lambda _: None):
  """Parses flags.

  Args:
    argv: of the program.
    explain: returns a message for a command line that cannot be parsed; None: that of the parser.

  Returns:
    the program's name, and the arguments that are no flags.

  Raises:
    UserError: a flag is invalid.
  """
  try:
    return flags.FLAGS(argv)
  except SystemExit:  # --help has been printed, for which absl exits with 1
    sys.exit(0)
  except UserError:
    raise
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    raise UserError(explain(argv) or ' '.join(str(error).split())) from None


def start(run: Callable[[], int | None], parser: Callable[[list[str]], list[str]] = parse) -> None:
  """Runs a program, and exits with the code that it returns (None: 0).

  Args:
    run: the program, after its flags are parsed.
    parser: of the flags; a UserError that it raises ends the program with one line.
  """

  interruption.watch()

  def parse_flags(argv: list[str]) -> list[str]:
    try:
      return parser(argv)
    except UserError as error:
      _fail(str(error), error.exit_code)

  def main(argv: list[str]) -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s', force=True)
    # Orbax logs every save, and every error with its traceback before it raises it.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger('asyncio').setLevel(logging.CRITICAL)
    with _errors_of_threads() as late:
      try:
        if len(argv) > 1:
          raise UserError(f'{argv[1]!r} is not a flag; flags start with --')
        sys.exit(run())
      except (UserError, RunError) as error:
        late.clear()  # of the same cause
        _fail(str(error), error.exit_code)
      except interruption.Interrupted as stop:
        _end(f'stopped by {stop}; run the same command again to resume', stop.exit_code)

  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # of XLA's start messages
  app.run(main, flags_parser=parse_flags)


@contextlib.contextmanager
def _errors_of_threads() -> Iterator[list[str]]:
  """Keeps what Python prints of errors that nothing can catch, as in threads, until the end."""
  late: list[str] = []

  def keep(found: Any) -> None:
    values = found.exc_type, found.exc_value, found.exc_traceback
    late.append(''.join(traceback.format_exception(*values)))

  before = sys.unraisablehook, threading.excepthook
  sys.unraisablehook = threading.excepthook = keep
  try:
    yield late
  finally:
    sys.unraisablehook, threading.excepthook = before
    for text in late:
      print(text, file=sys.stderr)


def _fail(line: str, exit_code: int) -> NoReturn:
  _end(f'error: {line}', exit_code)


def _end(line: str, exit_code: int) -> NoReturn:
  """Ends the process: threads of Orbax may wait for a full disk, or print what they failed at."""
  with contextlib.suppress(OSError):  # the output may be a file on the full disk
    sys.stdout.flush()
  with contextlib.suppress(OSError):
    print(line, file=sys.stderr, flush=True)
  os._exit(exit_code)
