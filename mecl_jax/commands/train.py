"""The command `train`: from a configuration and a work directory to the report of a run."""

import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax.commands import session
from mecl_jax.commands.outcome import predictions_of, write_outcome
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train_phases import train_phases
from mecl_jax.data import Dataset, Parts, check_argument
from mecl_jax.errors import DamagedFile
from mecl_jax.models import MultiExit
from mecl_jax.models.own.factories import register_network
from mecl_jax.models.own.given import entries
from mecl_jax.report.tables.summary import exit_table
from mecl_jax.teachers.plain_run import TrainRun
from mecl_jax.training import workdir as workdirs
from mecl_jax.training.log import make_console
from mecl_jax.training.run import load_dataset


def train(
  config: ConfigDict,
  workdir: str | pathlib.Path,
  *,
  console: Console | None = None,
  data: Dataset | Parts | None = None,
  brief: bool = False,
  profile: bool = False,
  network: MultiExit | None = None,
) -> dict[str, Any]:
  """Trains and evaluates a run, or resumes it where it stopped.

  Args:
    config: from `default_config()` or a file in `configs/`.
    workdir: the run's work directory; if its run has ended, its report is printed again.
    console: to print to; None: standard output.
    data: from `from_source` or `load_data`; None: loaded as the configuration says. They are also
      compared with those of a run that has ended.
    brief: print progress, but no tables.
    profile: trace a few steps of each phase, print where their time goes, and write the traces to
      the folder `profile` of the work directory.
    network: from `add_exits`, to train from its parameters; it is not changed. It takes the place
      of `model.backbone`, `model.exits` and `model.head`, and normalises pixels as it is. None: the
      network of the configuration.

  Returns:
    the summary, as in summary.json.

  Raises:
    UserError: the configuration, the data or the work directory cannot be used.
    RunError: training failed, for example because the loss became NaN.
    Interrupted: SIGTERM or Ctrl-C; the same call resumes.
  """
  check_argument(data)
  console = console or make_console()
  if network is not None:
    config = _with_network(config, network)
  config = resolve(config, given=isinstance(data, Parts))
  return train_resolved(config, pathlib.Path(workdir), console, data, brief=brief, profile=profile)


def _with_network(config: ConfigDict, network: MultiExit) -> ConfigDict:
  """Returns a configuration that names a network, which this process then has by that name."""
  config = config.copy_and_resolve_references()
  with config.unlocked(), config.ignore_type():
    config.model.backbone = register_network(network)
    config.model.exits = entries(network)
  return config


def train_resolved(
  config: ConfigDict,
  workdir: pathlib.Path,
  console: Console,
  data: Dataset | Parts | None = None,
  *,
  brief: bool = False,
  profile: bool = False,
) -> dict[str, Any]:
  """Does what `train` does, with a configuration that is resolved."""
  with session.hold(workdir, config) as interruption:
    summary = _summary(workdir, console)
    if summary and summary['complete']:
      if data is not None:
        workdirs.check_data(workdir, load_dataset(config, console, data))
      if not brief:
        _print_ended(config, workdir, summary, console)
      if profile:
        console.print('there is no profile, since no step was taken; choose a new --workdir')
      return summary
    run = session.open_run(config, workdir, console, interruption, data)
    run = dataclasses.replace(run, profile=profile)
    session.start(run, brief=brief)
    position = train_phases(run, teacher_trainer(console))
    return write_outcome(run, position, predictions_of(run, position), brief=brief)


def _summary(workdir: pathlib.Path, console: Console) -> dict[str, Any] | None:
  """Returns the summary of a run that has ended; None if there is none, or it is damaged."""
  try:
    return workdirs.read_summary(workdir)
  except DamagedFile:
    path = workdir / 'summary.json'
    console.print(f'{path} is damaged and is written again', soft_wrap=True, markup=False)
    return None


def teacher_trainer(console: Console) -> TrainRun:
  """Returns the function that trains the runs of teachers."""

  def train_run(config: ConfigDict, workdir: pathlib.Path, dataset: Dataset) -> None:
    train_resolved(config, workdir, console, dataset, brief=True)

  return train_run


def _print_ended(
  config: ConfigDict, workdir: pathlib.Path, summary: dict[str, Any], console: Console
) -> None:
  if config.report.compare_with:
    console.print('this run has ended; --mode=evaluate compares its scores')
  console.print(f'{workdir} holds a run that has ended; its report:', soft_wrap=True)
  console.print(exit_table(summary))
  page = workdir / 'report' / 'index.html'
  if page.exists():
    console.print(f'report: {page}', soft_wrap=True)
  elif config.report.page:
    console.print(
      f'{page} is missing; --mode=evaluate --workdir={workdir} writes it', soft_wrap=True
    )
