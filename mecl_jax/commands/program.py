"""What a program of this project is to its user: flags, one line for an error, an exit code."""

from collections.abc import Callable
import logging
import os
import sys
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from mecl_jax.errors import RunError, UserError


def parse(argv: list[str], explain: Callable[[list[str]], str | None] = lambda _: None):
  """Parses flags; a wrong one ends the program with one line.

  Args:
    argv: as the program was called.
    explain: what to say of a call that cannot be parsed; None: what the parser says.

  Returns:
    the program's name, and what is no flag.
  """
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, UserError) as error:
    _fail(explain(argv) or ' '.join(str(error).split()), UserError.exit_code)


def start(run: Callable[[], int | None], parser: Callable[[list[str]], list[str]] = parse) -> None:
  """Runs a program to its end, and exits with what it returns, 0 for None.

  Args:
    run: does what the flags say.
    parser: of the flags.
  """

  def main(argv: list[str]) -> None:
    logging.basicConfig(level=logging.WARNING, format='%(message)s', force=True)
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax tells of every save
    from mecl_jax.training.interruption import Interrupted

    try:
      if len(argv) > 1:
        raise UserError(f'{argv[1]!r} is no flag; every one starts with --')
      sys.exit(run())
    except (UserError, RunError) as error:
      _fail(str(error), error.exit_code)
    except Interrupted as stop:
      print(f'stopped by {stop}; the same command goes on from here', file=sys.stderr)
      sys.exit(stop.exit_code)
    except KeyboardInterrupt:
      print(
        'stopped at once; the same command begins again, or goes on from the last checkpoint',
        file=sys.stderr,
      )
      sys.exit(130)

  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # XLA's banners
  app.run(main, flags_parser=parser)


def _fail(line: str, exit_code: int) -> NoReturn:
  print(f'error: {line}', file=sys.stderr)
  sys.exit(exit_code)
