"""What the programs of this project share: flags, one-line errors, exit codes."""

from collections.abc import Callable
import logging
import os
import sys
from typing import NoReturn

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
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax logs every save
    try:
      if len(argv) > 1:
        raise UserError(f'{argv[1]!r} is not a flag; flags start with --')
      sys.exit(run())
    except (UserError, RunError) as error:
      _fail(str(error), error.exit_code)
    except interruption.Interrupted as stop:
      print(f'stopped by {stop}; run the same command again to resume', file=sys.stderr)
      sys.exit(stop.exit_code)

  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # of XLA's start messages
  app.run(main, flags_parser=parse_flags)


def _fail(line: str, exit_code: int) -> NoReturn:
  print(f'error: {line}', file=sys.stderr)
  sys.exit(exit_code)
