"""The command `describe`: prints a run stage by stage, and draws its network."""

import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax.commands import overview, session
from mecl_jax.commands.resolve import resolve
from mecl_jax.training.log import make_console
from mecl_jax.training.workdir import read_config


def describe(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
) -> pathlib.Path:
  """Prints what a run is or would be, stage by stage, and draws its network.

  Args:
    workdir: for the picture; need not hold a run if there is a `config`.
    config: of the run; None: that of the run in `workdir`.
    console: to print to; None: standard output.

  Returns:
    the path of the picture.

  Raises:
    UserError: the configuration or the data cannot be used.
  """
  workdir, console = pathlib.Path(workdir), console or make_console()
  own = read_config(workdir) if config is None else resolve(config)
  with session.hold(workdir, own) as interruption:
    run = session.open_run(own, workdir, console, interruption)
    overview.print_run(run)
    overview.print_stages(run)
    path = overview.draw(run, workdir / 'report')
    console.print(f'picture: {path}', soft_wrap=True)
    return path
