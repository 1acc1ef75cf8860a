"""The records that a phase writes while it trains: loss, accuracy, speed, validation."""

import time
from typing import Any

import jax
import numpy as np

from mecl_jax.curriculum import Curriculum
from mecl_jax.errors import RunError
from mecl_jax.evaluation.metrics import checked
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.training.features import predict_split
from mecl_jax.training.log import MetricsLog
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.step import StepMetrics


class Meter:
  """Collects the metrics of steps, and writes their means, once per logging interval.

  A record never stands for a few steps alone, whose mean would be noisy: validations and
  checkpoints write none, a record after a resume waits for half an interval, and the last one of
  a phase is the mean over a whole interval.

  The speed is that of the last complete logging interval, once there is one: the device is ahead of
  the metrics that have been read, so that the speed of a few steps would be too high.

  Args:
    run: the run.
    plan: of the phase.
    curriculum: of the phase.
    log: to write to.

  Attributes:
    due: whether a logging interval has ended since the last report.
  """

  def __init__(self, run: Run, plan: PhasePlan, curriculum: Curriculum, log: MetricsLog):
    self._run, self._plan, self._curriculum, self._log = run, plan, curriculum, log
    self._task = TASKS[run.config.task]
    self._pending: list[tuple[range, StepMetrics]] = []
    # Loss [steps], loss and accuracy [steps, exits] of the newest steps that have been read.
    self._read: list[np.ndarray] = []
    self._stop, self._unwritten = 0, 0  # end of these steps, and how many are in no record yet
    self._facts: tuple[str, ...] = ()
    self._rate = 0.0  # images per second
    self._since, self._steps = time.monotonic(), 0  # start of the timing, and steps since then
    self.due = False

  def add(self, steps: range, metrics: StepMetrics) -> None:
    """Adds the metrics of some steps, which may still be in computation."""
    self._pending.append((steps, metrics))
    self.due = self.due or passes(steps, self._plan.log_every)

  def report(self, *, last: bool = False) -> tuple[str, ...]:
    """Reads the metrics of the steps since the last report; writes a record if one is due.

    Args:
      last: whether the phase has ended, so that a record is written in any case.

    Returns:
      the facts for the progress bar, the most important one first.

    Raises:
      RunError: the loss or the parameters are not finite.
    """
    due = self.due
    if self._pending:
      self._read_pending()
    self.due = False
    interval = self._plan.log_every
    if (due and 2 * self._unwritten >= interval) or (last and self._unwritten):
      self._write_means(max(self._unwritten, interval))
      self._unwritten = 0
    self._read = [values[-max(self._unwritten, interval) :] for values in self._read]
    return self._facts

  def _read_pending(self) -> None:
    """Reads the metrics of the steps that were added; waits for the device."""
    first, self._stop = self._pending[0][0].start, self._pending[-1][0].stop
    measured = jax.device_get([metrics for _, metrics in self._pending])
    self._pending = []
    *values, finite = map(np.concatenate, zip(*measured, strict=True))
    self._check(values[0], finite, first)
    self._time(self._stop - first)
    self._unwritten += self._stop - first
    old = self._read or [value[:0] for value in values]
    self._read = [np.concatenate(both) for both in zip(old, values, strict=True)]
    self._facts = self._as_facts()

  def _as_facts(self) -> tuple[str, ...]:
    loss, _, correct = (values[-self._plan.log_every :] for values in self._read)
    share = self._visible()
    shown = self._task.shown
    exits = [f'{name} {shown.text(value)}' for name, value in self._by_exit(correct).items()]
    return (
      f'loss {loss.mean():.3f}',
      f'{self._rate:,.0f} images/s',
      *([f'visible {share:.0%}'] if share < 1 else []),
      *reversed(exits),
    )

  def _write_means(self, steps: int) -> None:
    """Writes a record of the means over the newest steps."""
    loss, exit_loss, correct = (values[-steps:] for values in self._read)
    shown = self._task.shown
    self._write(
      self._stop,
      loss=float(loss.mean()),
      exit_loss=self._by_exit(exit_loss),
      **{shown.column: self._by_exit(shown.sign * correct)},
      visible=self._visible(),
      learning_rate=self._highest_rate(self._stop - 1),
      images_per_second=round(self._rate, 1),
    )

  def _visible(self) -> float:
    """Returns the share of the training images that are visible at the newest step."""
    return self._curriculum.visible(self._stop - 1) / len(self._curriculum.order)

  def validate(self, done: int) -> None:
    """Writes the quality of the phase's exits on the validation split, by the run's model."""
    run, exits = self._run, self._plan.phase.exits
    split = run.dataset.validation
    logits = checked(predict_split(run, split, exits))
    mean = self._task.shown.sign * self._task.quality(logits, split.labels).mean(axis=0)
    values = dict(zip(exits, mean.tolist(), strict=True))
    self._write(done, validation=values)
    self._since, self._steps = time.monotonic(), 0

  def _time(self, steps: int) -> None:
    """Updates the speed after more steps, at the end of an interval or if there is none yet."""
    now, self._steps = time.monotonic(), self._steps + steps
    if self.due or not self._rate:
      self._rate = self._steps * self._run.config.batch_size / (now - self._since)
    if self.due:
      self._since, self._steps = now, 0

  def _by_exit(self, values: np.ndarray) -> dict[str, float]:
    """Returns the means over the steps of values [steps, exits], by exit."""
    return dict(zip(self._plan.phase.exits, values.mean(axis=0).tolist(), strict=True))

  def _check(self, loss: np.ndarray, finite: np.ndarray, first: int) -> None:
    bad = np.flatnonzero(~finite)
    if len(bad):
      step, phase = first + int(bad[0]), self._plan.phase
      searched = self._plan.settings.learning_rate == 'auto'
      field = 'candidate_rates' if searched else 'learning_rate'
      what = 'parameters are not finite after' if np.isfinite(loss[bad[0]]) else 'loss is nan at'
      raise RunError(
        f'{what} step {step + 1} of phase {phase.name} (learning rate'
        f' {self._highest_rate(step):.3g}); the checkpoint before it is kept; use a lower'
        f' phases.{phase.settings}.{field} in a new work directory'
      )

  def _highest_rate(self, step: int) -> float:
    """Returns the learning rate of a step, of the head that has the highest where they differ."""
    rates, heads = self._plan.learning_rates, self._plan.head_rates
    of_heads = not isinstance(self._plan.settings.learning_rate, int | float)
    return float(rates[step] * (heads.max() if of_heads and heads is not None else 1))

  def _write(self, done: int, **values: Any) -> None:
    step = self._plan.before + done
    self._log.write({'step': step, 'phase': self._plan.phase.name, **values})


def passes(steps: range, every: int) -> bool:
  """Returns whether these steps reach a multiple of `every`; 0: never."""
  return bool(every) and steps.stop // every > steps.start // every
