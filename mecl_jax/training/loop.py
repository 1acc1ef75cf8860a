"""The loop of one phase: take steps, log, validate, save, stop on request."""

import dataclasses
import time

import jax
import numpy as np

from mecl_jax import disk
from mecl_jax.curriculum import Curriculum
from mecl_jax.training import learning_speed
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.interruption import Interrupted
from mecl_jax.training.log import Bar, MetricsLog
from mecl_jax.training.meter import Meter, passes
from mecl_jax.training.phase import PhaseSteps
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.profile import profiled
from mecl_jax.training.run import Run
from mecl_jax.training.step import Arrays


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
  """The point at which a phase starts or resumes.

  Attributes:
    position: in the run.
    unfinished: see `PhaseSteps`; empty at the start of the phase.
    began: `time.monotonic()` at which the run would have begun if it had never stopped.
  """

  position: Position
  unfinished: Arrays
  began: float


def train_phase(
  run: Run,
  plan: PhasePlan,
  curriculum: Curriculum,
  easiness: np.ndarray | None,
  source: Arrays | None,
  start: Start,
  checkpoints: Checkpoints,
  log: MetricsLog,
) -> Position:
  """Trains a phase from `start` to its end; changes the run's model in place.

  Args:
    run: the run.
    plan: of this phase.
    curriculum: which examples are shown at which step.
    easiness: see `batches.batch_maker`.
    source: see `sources.phase_source`.
    start: where to start or resume.
    checkpoints: to save to.
    log: to write to.

  Returns:
    the position at the start of the next phase, which is saved too.

  Raises:
    Interrupted: SIGTERM or Ctrl-C; everything so far is saved.
    RunError: the loss is not a number, or the work directory was removed; the last checkpoint
      before that is kept.
  """
  phase = PhaseSteps(run, plan, curriculum, easiness, source, start.unfinished)
  saver = _Saver(run, plan, phase, start, checkpoints)
  meter = Meter(run, plan, curriculum, log)
  done = start.position.step
  calls = phase.take(done)
  if run.profile:
    calls = profiled(phase, done, run.workdir / 'profile' / plan.phase.name, run.console)
  with Bar(run.console, plan.phase.name, plan.steps, done, first='compiling') as bar:
    for steps, metrics in calls:
      if meter.due:  # the device computes these steps while the host reads the metrics before them
        bar.update(steps.start, meter.report())
      meter.add(steps, metrics)
      bar.update(steps.stop, ahead=True)
      if steps.stop == plan.steps:
        break  # the end of a phase saves more than a step does
      if passes(steps, plan.validate_every):
        bar.update(steps.stop, meter.report())
        with bar.doing('validating'):
          phase.update_model()
          meter.validate(steps.stop)
      if saver.due() or run.interruption.signal:
        bar.update(steps.stop, meter.report())  # raises if the loss is not a number
        with bar.doing('saving'):
          saver.save(steps.stop)
        if run.interruption.signal:
          raise Interrupted(run.interruption.signal)
    bar.update(plan.steps, meter.report(last=True))
    with bar.doing('validating'):
      phase.update_model()
      meter.validate(plan.steps)
  if plan.recorded:  # written before the save that ends the phase, since nothing repeats it then
    names = learning_speed.empty_record(0)
    record = jax.device_get({name: phase.state.extra[name] for name in names})
    learning_speed.save(run.workdir, run.dataset.train.ids, record, plan.recorded)
  position = saver.save(plan.steps)
  run.interruption.check()
  return position


class _Saver:
  """Saves checkpoints of a phase."""

  def __init__(
    self, run: Run, plan: PhasePlan, phase: PhaseSteps, start: Start, checkpoints: Checkpoints
  ):
    self._run, self._plan, self._phase = run, plan, phase
    self._began, self._scores, self._checkpoints = start.began, start.position.scores, checkpoints
    self._saved = time.monotonic()

  def due(self) -> bool:
    """Returns whether `checkpoints.every_seconds` have passed since the last save."""
    return time.monotonic() - self._saved >= self._run.config.checkpoints.every_seconds

  def save(self, done: int) -> Position:
    """Saves the run after `done` steps of the phase; returns its position."""
    ended = done == self._plan.steps
    position = Position(
      phase=self._plan.index + ended,
      step=0 if ended else done,
      total=self._plan.before + done,
      wall_seconds=time.monotonic() - self._began,
      run=self._run.digest,
      scores=self._scores,
    )
    disk.check_there(self._run.workdir)
    self._phase.update_model()
    unfinished = {} if ended else self._phase.unfinished()
    self._checkpoints.save(position, self._run.model, unfinished)
    self._saved = time.monotonic()
    return position
