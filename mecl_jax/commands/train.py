"""From a configuration and a work directory to the report of a run's exits."""

import pathlib
from typing import Any

from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from mecl_jax import config as config_lib
from mecl_jax.commands import curriculum_report, run_report
from mecl_jax.commands import overview as description
from mecl_jax.commands.outcome import predict_splits, write_outcome
from mecl_jax.curriculum import Curriculum, Difficulty, make_order
from mecl_jax.data import Dataset
from mecl_jax.report.tables.summary import exit_table
from mecl_jax.teachers import scoring as teachers
from mecl_jax.training import devices
from mecl_jax.training import initial_weights as weights
from mecl_jax.training import workdir as workdirs
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.log import Metrics, make_console
from mecl_jax.training.loop import Start, begin, moments_of, train_phase
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run, open_run
from mecl_jax.training.step import Arrays


def train(
  config: ConfigDict,
  workdir: str | pathlib.Path,
  *,
  console: Console | None = None,
  dataset: Dataset | None = None,
  brief: bool = False,
) -> dict[str, Any]:
  """Trains and evaluates a run, or goes on with one where it stopped.

  Args:
    config: from `config.default()` or a file in `configs/`.
    workdir: the run's work directory; one whose run has ended only shows its report again.
    console: to print to.
    dataset: loaded already; None: as the configuration says.
    brief: print progress, but no tables.

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
    workdirs.forget_what_never_began(workdir)
    workdirs.check_config(workdir, config)
    summary = workdirs.read_summary(workdir)
    if summary and summary['complete']:
      if not brief:
        if config.report.compare_with:
          console.print('--mode=evaluate compares the scores of a run that has ended')
        console.print(f'{workdir} holds a run that has ended; its report:', soft_wrap=True)
        console.print(exit_table(summary))
      return summary
    run = _open(config, workdir, console, interruption, dataset, brief=brief)
    keep = config.checkpoints.keep
    with Checkpoints(workdir / 'checkpoints', run=run.digest, keep=keep) as checkpoints:
      position = _train_phases(run, checkpoints)
    return write_outcome(run, position, predict_splits(run), brief=brief)


def score(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
  dataset: Dataset | None = None,
) -> Difficulty:
  """Scores the training examples of a run, and draws what they and the pacing look like.

  What the teacher needs is trained first, up to the end of the run's own backbone; `train` goes on
  from there. Whatever has been done before is not done again.

  Args:
    workdir: the run's work directory.
    config: of the run; None: that of the run that is there.
    console: to print to.
    dataset: loaded already; None: as the configuration says.

  Returns:
    the difficulty of every training example, which is also in difficulty.npz.

  Raises: as `train`.
  """
  workdir, console = pathlib.Path(workdir), console or make_console()
  own = config_lib.resolve(config or config_lib.read(workdir / 'config.json'))
  with workdirs.claim(workdir), Interruption() as interruption:
    workdirs.forget_what_never_began(workdir)
    workdirs.check_config(workdir, own)
    run = _open(own, workdir, console, interruption, dataset)
    keep = own.checkpoints.keep
    with Checkpoints(workdir / 'checkpoints', run=run.digest, keep=keep) as checkpoints:
      _train_phases(run, checkpoints, only_to_score=True)
    difficulty = Difficulty.load(workdir / 'difficulty.npz')
    curriculum_report.write(run)
    console.print(f'scores and pictures: {workdir}; --mode=train goes on from here', soft_wrap=True)
    return difficulty


def describe(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
) -> pathlib.Path:
  """Prints what a run is or would be, stage by stage, and draws its network.

  Args:
    workdir: for the picture; need not be that of a run if there is a `config`.
    config: of the run; None: that of the run that is there.
    console: to print to.

  Returns:
    the path of the picture.

  Raises:
    UserError: the configuration or the data cannot be used.
  """
  workdir, console = pathlib.Path(workdir), console or make_console()
  own = config_lib.resolve(config or config_lib.read(workdir / 'config.json'))
  with workdirs.claim(workdir), Interruption() as interruption:
    workdirs.forget_what_never_began(workdir)
    workdirs.check_config(workdir, own)
    _check_weights(own, workdir)
    run = open_run(own, workdir, console, interruption)
    description.print_run(run)
    description.print_stages(run)
    path = description.draw(run)
    console.print(f'picture: {path}', soft_wrap=True)
    return path


def _open(
  config: ConfigDict,
  workdir: pathlib.Path,
  console: Console,
  interruption: Interruption,
  dataset: Dataset | None,
  *,
  brief: bool = False,
) -> Run:
  """Sets a run up, says what it is, and keeps that in the work directory."""
  begins = _check_weights(config, workdir)
  run = open_run(config, workdir, console, interruption, dataset)
  workdirs.check_data(workdir, run.dataset)
  curriculum_report.scores_to_compare(run)  # now, not after hours, if they are not there
  run_report.check(run)
  if not brief:
    description.print_run(run)
  if begins:
    _begin_with_weights(run)
  workdirs.describe_run(workdir, config, run.dataset, run.digest)
  interruption.wait_for_safe_points()
  return run


def _check_weights(config: ConfigDict, workdir: pathlib.Path) -> bool:
  """Whether the run is to begin with weights, which must be there then."""
  begins = bool(config.model.pretrained) and not workdirs.has_checkpoints(workdir)
  if begins:
    weights.check_there(config)
  return begins


def _begin_with_weights(run: Run) -> None:
  run.console.print(f'pretrained: {weights.begin(run)}', soft_wrap=True)


def _train_phases(run: Run, checkpoints: Checkpoints, *, only_to_score: bool = False) -> Position:
  """Goes on from the newest checkpoint to the end of the last phase, or to that of the scoring.

  The teacher is asked as soon as it can be, so that what is wrong with it is told early.
  """

  def moments_like(position: Position) -> Arrays:
    return moments_of(begin(run, run.plans[position.phase])[1]) if position.step else {}

  found = checkpoints.restore(run.model, devices.replicated(run.mesh), moments_like)
  position, moments = found or (Position(), {})
  if run.config.model.pretrained and not found and checkpoints.found_some:
    _begin_with_weights(run)  # none of them was whole
  first = next(plan for plan in run.plans if plan.phase.curriculum)
  if found:
    last = run.plans[-1]
    run.console.print(f'going on from step {position.total} of {last.before + last.steps}')
  scoring = only_to_score or teachers.wanted(run.config)
  difficulty = None
  if scoring and not (teachers.waits_for_backbone(run.config) and position.phase < first.index):
    difficulty = _ask_teacher(run, first, position)
  began = run.opened - position.wall_seconds
  with Metrics(run.workdir, position.total) as metrics:
    for plan in run.plans[position.phase :]:
      if scoring and plan.index == first.index and difficulty is None:
        difficulty = _ask_teacher(run, first, position)
      if only_to_score and difficulty is not None:
        break
      curriculum, easiness = curriculum_of(run, plan, difficulty)
      start = Start(position, moments, began)
      position = train_phase(run, plan, curriculum, easiness, start, checkpoints, metrics)
      moments = {}
  return position


def _ask_teacher(run: Run, first: PhasePlan, position: Position) -> Difficulty:
  """The scores; they must be there if training has used them or moved the network they are of."""
  moved = run.config.strategy == 'mixed' and teachers.waits_for_backbone(run.config)
  begun = position.total > first.before and (moved or teachers.wanted(run.config))
  difficulty = teachers.difficulty(run, begun=begun, train_run=_trainer(run))
  run.interruption.check()
  return difficulty


def _trainer(run: Run) -> teachers.TrainRun:
  """What teachers train other runs with."""

  def train_run(config: ConfigDict, workdir: pathlib.Path, dataset: Dataset) -> None:
    train(config, workdir, console=run.console, dataset=dataset, brief=True)

  return train_run


def curriculum_of(
  run: Run, plan: PhasePlan, difficulty: Difficulty | None
) -> tuple[Curriculum, np.ndarray | None]:
  """What the phase shows when; and, if easy examples weigh more, how easy each one is, [N]."""
  labels, balanced = run.dataset.train.labels, run.config.curriculum.class_balanced
  score = None if difficulty is None else difficulty.score

  def ranked(order: str) -> np.ndarray:
    return make_order(order, score, labels, seed=plan.seeds[0], class_balanced=balanced)

  easiness = None
  if plan.sample_weights == 'easy_weighted':
    easiness = np.empty(len(labels))
    easiness[ranked('easy_first')] = np.linspace(1, 0, len(labels))
  return Curriculum(ranked(plan.order), plan.pacing, run.config.batch_size, plan.seeds[1]), easiness
