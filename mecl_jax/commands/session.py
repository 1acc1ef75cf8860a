"""Opens the run of a work directory: the same way for every command."""

from collections.abc import Iterator, Mapping
import contextlib
import pathlib
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax import config as config_lib
from mecl_jax import disk
from mecl_jax.commands import curriculum_report, overview, replacement, run_report
from mecl_jax.commands.resolve import resolve
from mecl_jax.data import Dataset, Parts, check_argument
from mecl_jax.errors import DamagedFile, RunError, UserError
from mecl_jax.teachers import scoring
from mecl_jax.training import devices, initial_weights, own_networks, task_fields
from mecl_jax.training import workdir as workdirs
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.run import Run, set_up_run


@contextlib.contextmanager
def hold(workdir: pathlib.Path, config: ConfigDict) -> Iterator[Interruption]:
  """Locks a work directory, and checks that the configuration is that of its run.

  Args:
    workdir: new, or of a run with this configuration.
    config: resolved.

  Raises:
    UserError: another process uses it, or it was made with another configuration or version.
    RunError: within the context, the disk is full, the directory was removed, or the like.
  """
  with (
    workdirs.claim(workdir),
    disk.one_line_errors(workdir),
    Interruption() as interruption,
  ):
    replacement.recover(workdir)
    workdirs.clear_unstarted_run(workdir)
    workdirs.check_config(workdir, config)
    yield interruption


def open_run(
  config: ConfigDict,
  workdir: pathlib.Path,
  console: Console,
  interruption: Interruption,
  dataset: Dataset | Parts | None = None,
) -> Run:
  """Sets up the run of a work directory that `hold` has locked.

  Checks the data, and that they fit the network.

  Args:
    config: resolved.
    workdir: of the run.
    console: to print to.
    interruption: of `hold`.
    dataset: from `load_data` or `from_source`; None: loaded as the configuration says.

  Raises:
    UserError: the data or the initial weights cannot be used, or a Python program gave the data of
      this run and they are not given again.
  """
  if dataset is None and workdirs.read_identity(workdir).get('given'):
    raise UserError(
      f'{workdir} was trained on images that a Python program gave; give them again, with the'
      ' argument data=mecl_jax.from_source(..) of the function for this command, as'
      ' mecl_jax.evaluate'
    )
  if not workdirs.has_checkpoints(workdir):
    initial_weights.check_there(config)
  run = set_up_run(config, workdir, console, interruption, dataset)
  workdirs.check_data(workdir, run.dataset)
  identity = workdirs.read_identity(workdir)
  if changed := own_networks.check(workdir, config, run.model, identity):
    console.print(changed, soft_wrap=True, markup=False)
  return run


def start(run: Run, *, brief: bool = False) -> None:
  """Makes a run ready to train: prints it, loads its initial weights, and describes it on disk.

  The files that evaluation and report need are checked before hours of training, and not after.
  From then on signals stop the run at safe points only.

  Args:
    run: from `open_run`.
    brief: print no tables.

  Raises:
    UserError: a file that the configuration names, the target in `evaluation`, or the initial
      weights cannot be used.
  """
  run_report.check(run.config, run.workdir, run_report.exits_of(run))
  curriculum_report.scores_to_compare(run)
  if not brief:
    overview.print_run(run)
  own = run.own_network  # before other weights are loaded, which a resumed run does not do
  if run.config.model.pretrained and not workdirs.has_checkpoints(run.workdir):
    load_initial_weights(run)
  own_networks.check_start(run.workdir, own, workdirs.read_identity(run.workdir))
  more = {own_networks.KEY: own} if own else {}
  workdirs.describe_run(run.workdir, run.config, run.dataset, run.digest, more)
  run.interruption.wait_for_safe_points()


def load_initial_weights(run: Run) -> None:
  """Loads the weights that `model.pretrained` names, and prints what was loaded."""
  message = initial_weights.load_initial_weights(run)
  run.console.print(f'pretrained: {message}', soft_wrap=True)


@contextlib.contextmanager
def restored_run(
  workdir: pathlib.Path,
  config: ConfigDict | None,
  console: Console,
  *,
  data: Dataset | Parts | None = None,
  keep_target: bool = False,
  measures_latency: bool = False,
  mode: str = 'evaluate',
) -> Iterator[tuple[Run, Position]]:
  """Opens a run at its newest checkpoint, if its target in `evaluation` can be met.

  Args:
    workdir: of the run.
    config: that of the run, except for fields that may change between two starts; None: that of
      the run.
    console: to print to.
    data: from `from_source` or `load_data`; None: loaded as the configuration says.
    keep_target: whether the target is that of the last evaluation; always without `config`.
    measures_latency: whether the command measures what a target in milliseconds needs.
    mode: name of the command, which must support the task of the run.

  Yields:
    the run and its position.

  Raises:
    UserError: the folder is not the work directory of a run, its configuration or data differ, or
      no exit is as cheap as the target; the last is found before the data are loaded.
    RunError: no checkpoint can be read, or only one before that of the results in summary.json.
  """
  check_argument(data)
  own, identity = workdirs.read_run(workdir)
  task_fields.check_command(own, mode)
  if config is not None:
    config = resolve(config, given=isinstance(data, Parts))
    workdirs.check_config(workdir, config)
    own = config_lib.with_mutable_fields(own, config)
  summary = _kept_summary(workdir)
  if config is None or keep_target:
    own = _with_last_target(own, summary, console)
  missing = RunError(f'{workdir} has no checkpoint that can be read; --mode=train makes one')
  if not workdirs.has_checkpoints(workdir):
    raise missing
  with hold(workdir, own) as interruption:
    exits = run_report.exits_of_network(own, identity)
    run_report.check(own, workdir, exits, measures_latency=measures_latency)
    run = open_run(own, workdir, console, interruption, data)
    saved = Checkpoints(workdir / 'checkpoints', run=run.digest, read_only=True)
    with saved as checkpoints:
      found = checkpoints.restore(run.model, devices.replicated(run.mesh))
    if found is None:
      raise missing
    if found[0].total < summary.get('steps', 0):
      raise RunError(
        f'the results in {workdir} are of step {summary["steps"]:,}, whose checkpoint is damaged;'
        ' they stay as they are. To train the lost steps again, delete'
        f' {workdir / "summary.json"} and run --mode=train'
      )
    scoring.check_kept(run, found[0].scores)
    yield run, found[0]


def _kept_summary(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns the summary of a run; {} if there is none, or it is damaged."""
  try:
    return workdirs.read_summary(workdir) or {}
  except DamagedFile:
    return {}


def _with_last_target(
  config: ConfigDict, summary: Mapping[str, Any], console: Console
) -> ConfigDict:
  """Returns the configuration with the target of the last evaluation, which it prints."""
  last = summary.get('evaluation', {})
  changed = {name: value for name, value in last.items() if config.evaluation[name] != value}
  if not changed:
    return config
  config = config.copy_and_resolve_references()
  config.evaluation.update(changed)
  fields = ', '.join(f'evaluation.{name}={value}' for name, value in changed.items())
  console.print(f'{fields}, as in the last evaluation', soft_wrap=True)
  return config
