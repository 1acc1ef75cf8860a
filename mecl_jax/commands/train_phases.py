"""Trains the phases of a run, one after the other, from its newest checkpoint."""

import dataclasses

from mecl_jax.commands import session
from mecl_jax.curriculum import Difficulty
from mecl_jax.teachers.plain_run import TrainRun
from mecl_jax.teachers.scoring import difficulty
from mecl_jax.training import devices
from mecl_jax.training.batches import make_curriculum
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.log import MetricsLog
from mecl_jax.training.loop import Start, train_phase
from mecl_jax.training.phase import initial_state, unfinished
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.rates_file import with_rates
from mecl_jax.training.run import Run
from mecl_jax.training.sources import phase_source
from mecl_jax.training.step import Arrays
from mecl_jax.training.strategies import needs_scores, scores_own_backbone


def train_phases(run: Run, train_run: TrainRun, *, until_scored: bool = False) -> Position:
  """Trains a run from its newest checkpoint to its end.

  The teacher scores the examples as early as possible, so that its errors are found early.

  Args:
    run: started by `session.start`.
    train_run: trains another run to its end, for teachers.
    until_scored: stop as soon as difficulty.npz is there.

  Returns:
    the position at which training stopped.

  Raises:
    Interrupted: SIGTERM or Ctrl-C; everything so far is saved.
    RunError: the loss is not a number, or files cannot be written.
  """
  keep = run.config.checkpoints.keep
  folder = run.workdir / 'checkpoints'
  with Checkpoints(folder, run=run.digest, keep=keep) as checkpoints:
    return _train(run, checkpoints, train_run, until_scored)


def _train(run: Run, checkpoints: Checkpoints, train_run: TrainRun, until_scored: bool) -> Position:
  position, rest = _resume(run, checkpoints)
  first = next(plan for plan in run.plans if plan.phase.curriculum)
  scoring, scores = until_scored or needs_scores(run.config), None
  if scoring and not (scores_own_backbone(run.config) and position.phase < first.index):
    scores, position = _scores(run, first, position, train_run)
  began = run.opened - position.wall_seconds
  with MetricsLog(run.workdir, position.total) as log:
    for plan in run.plans[position.phase :]:
      if scoring and plan.index == first.index and scores is None:
        scores, position = _scores(run, first, position, train_run)
      if until_scored and scores is not None:
        break
      source = phase_source(run, plan)
      plan = with_rates(run, plan, scores, source, begun=position.step > 0)
      curriculum = make_curriculum(run, plan, scores)
      start = Start(position, rest, began)
      position, rest = train_phase(run, plan, *curriculum, source, start, checkpoints, log), {}
      source = None  # frees memory before the next phase puts its examples on the device
  return position


def _resume(run: Run, checkpoints: Checkpoints) -> tuple[Position, Arrays]:
  """Restores the newest checkpoint, if there is one; returns the position and the rest of it."""

  def like(position: Position) -> Arrays:
    if not position.step:
      return {}
    plan = run.plans[position.phase]
    return unfinished(initial_state(run, plan)[1])

  found = checkpoints.restore(run.model, devices.replicated(run.mesh), like)
  if found:
    last = run.plans[-1]
    total = last.before + last.steps
    run.console.print(f'resuming at step {found[0].total} of {total}')
    return found
  if run.config.model.pretrained and checkpoints.found_some:  # none of them was intact
    session.load_initial_weights(run)
  return Position(), {}


def _scores(
  run: Run, first: PhasePlan, position: Position, train_run: TrainRun
) -> tuple[Difficulty, Position]:
  """Returns the scores, and the position with their digest.

  They must be those of the checkpoint, or exist if training has used them or changed their network.
  """
  changed = run.config.strategy == 'mixed' and scores_own_backbone(run.config)
  begun = position.total > first.before and (changed or needs_scores(run.config))
  found = difficulty(run, begun=begun, digest=position.scores, train_run=train_run)
  if run.config.curriculum.contradicted == 'drop' and found.contradicted is not None:
    dropped, size = int(found.contradicted.sum()), len(found.ids)
    run.console.print(
      f'{dropped:,} of {size:,} training examples are never shown: the teacher contradicts them'
    )
  run.interruption.check()
  return found, dataclasses.replace(position, scores=found.digest)
