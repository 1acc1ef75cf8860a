"""From a configuration and a work directory to the report of a run's exits."""

import pathlib
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax import config as config_lib
from mecl_jax.curriculum import NEED_TEACHER, Curriculum, make_order
from mecl_jax.data import Dataset
from mecl_jax.errors import RunError
from mecl_jax.evaluation import report
from mecl_jax.training import describe, devices
from mecl_jax.training import workdir as workdirs
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.log import Metrics, make_console
from mecl_jax.training.loop import Start, train_phase
from mecl_jax.training.optimizers import make_optimizer
from mecl_jax.training.outcome import write_outcome
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run, open_run
from mecl_jax.training.step import split
from mecl_jax.training.teacher import difficulty_scores


def train(
  config: ConfigDict,
  workdir: str | pathlib.Path,
  *,
  console: Console | None = None,
  dataset: Dataset | None = None,
) -> dict[str, Any]:
  """Trains and evaluates a run, or goes on with one where it stopped.

  Args:
    config: from `config.default()` or a file in `configs/`.
    workdir: the run's work directory; one whose run has ended only shows its report again.
    console: to print to.
    dataset: loaded already; None: as the configuration says.

  Returns:
    the summary, as in summary.json.

  Raises:
    UserError: the configuration, the data or the work directory cannot be used.
    RunError: training itself failed.
    Interrupted: SIGTERM or Ctrl-C; the same call goes on.
  """
  workdir, config = pathlib.Path(workdir), config_lib.resolve(config)
  console = console or make_console()
  with workdirs.claim(workdir), Interruption() as interruption:
    workdirs.check_config(workdir, config)
    summary = report.load_summary(workdir / 'summary.json')
    if summary and summary['complete']:
      console.print(f'{workdir} holds a run that has ended; its report:', soft_wrap=True)
      console.print(report.exit_table(summary))
      return summary
    run = open_run(config, workdir, console, interruption, dataset)
    workdirs.check_data(workdir, run.dataset)
    describe.print_run(run)
    workdirs.describe_run(workdir, config, run.dataset, run.digest)
    interruption.wait_for_safe_points()
    keep = config.checkpoints.keep
    with Checkpoints(workdir / 'checkpoints', run=run.digest, keep=keep) as checkpoints:
      position = _train_phases(run, checkpoints)
    return write_outcome(run, position)


def evaluate(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
) -> dict[str, Any]:
  """Evaluates the newest checkpoint of a run and writes its report anew.

  Args:
    workdir: the run's work directory.
    config: must be the run's, but may say that its data have moved; None: the run's.
    console: to print to.

  Returns:
    the summary, as in summary.json; its `complete` says whether training had ended.

  Raises:
    UserError: the folder holds no run, or its data cannot be loaded.
    RunError: no checkpoint can be read.
  """
  workdir, console = pathlib.Path(workdir), console or make_console()
  own = config_lib.resolve(config_lib.read(workdir / 'config.json'))
  if config is not None:
    workdirs.check_config(workdir, config_lib.resolve(config))
    own = config_lib.with_free_fields(own, config)
  with workdirs.claim(workdir), Interruption() as interruption:
    run = open_run(own, workdir, console, interruption)
    workdirs.check_data(workdir, run.dataset)
    saved = Checkpoints(workdir / 'checkpoints', run=run.digest, read_only=True)
    with saved as checkpoints:
      found = checkpoints.restore(run.model, devices.replicated(run.mesh))
    if found is None:
      raise RunError(f'{workdir} has no checkpoint that can be read; --mode=train makes them')
    return write_outcome(run, found[0])


def _train_phases(run: Run, checkpoints: Checkpoints) -> Position:
  """Goes on from the newest checkpoint to the end of the last phase."""

  def optimizer_like(position: Position) -> Any:
    if position.step == 0:
      return None
    plan = run.plans[position.phase]
    return split(run.model, plan.phase.trainable, make_optimizer(plan.settings))[1].optimizer

  found = checkpoints.restore(run.model, devices.replicated(run.mesh), optimizer_like)
  position, moments = found or (Position(), None)
  if found:
    last = run.plans[-1]
    run.console.print(f'going on from step {position.total} of {last.before + last.steps}')
  began = run.opened - position.wall_seconds
  with Metrics(run.workdir, position.total) as metrics:
    for plan in run.plans[position.phase :]:
      curriculum = _curriculum(run, plan, position)
      start = Start(position, moments, began)
      position = train_phase(run, plan, curriculum, start, checkpoints, metrics)
      moments = None
  return position


def _curriculum(run: Run, plan: PhasePlan, position: Position) -> Curriculum:
  """What the phase shows when; asks the teacher if the order needs one."""
  score = None
  if plan.order in NEED_TEACHER:
    first = next(p for p in run.plans if p.phase.curriculum)
    begun = position.total > first.before
    score = difficulty_scores(run, begun=begun, plain_run=lambda: _plain_run(run))
  order = make_order(
    plan.order,
    score,
    run.dataset.train.labels,
    seed=plan.seeds[0],
    class_balanced=run.config.curriculum.class_balanced,
  )
  return Curriculum(order, plan.pacing, run.config.batch_size, seed=plan.seeds[1])


def _plain_run(run: Run) -> pathlib.Path:
  """Trains the same configuration without a curriculum, in a work directory inside the run's."""
  config = run.config.copy_and_resolve_references()
  config.curriculum.order = 'none'
  workdir = run.workdir / 'teacher'
  run.console.print(f'a plain run comes first and becomes the teacher: {workdir}', soft_wrap=True)
  train(config, workdir, console=run.console, dataset=run.dataset)
  return workdir
