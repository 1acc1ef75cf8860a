"""The records that a phase writes while it trains: loss, accuracy, speed, validation."""

import time
from typing import Any

import jax
import numpy as np

from mecl_jax.curriculum import Curriculum
from mecl_jax.errors import RunError
from mecl_jax.evaluation import accuracy
from mecl_jax.training.features import predict_split
from mecl_jax.training.log import MetricsLog
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.step import StepMetrics


class Meter:
  """Collects the metrics of steps, and writes their means.

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
    self._pending: list[tuple[range, StepMetrics]] = []
    self._text = ''
    self._rate = 0.0  # images per second
    self._since, self._steps = time.monotonic(), 0  # start of the timing, and steps since then
    self.due = False

  def add(self, steps: range, metrics: StepMetrics) -> None:
    """Adds the metrics of some steps, which may still be in computation."""
    self._pending.append((steps, metrics))
    self.due = passes(steps, self._plan.log_every)

  def report(self) -> str:
    """Writes a record of the steps since the last one; returns it as text for the progress bar.

    Raises:
      RunError: the loss or the parameters are not finite.
    """
    if not self._pending:
      self.due = False
      return self._text
    first, last = self._pending[0][0].start, self._pending[-1][0].stop
    measured = jax.device_get([metrics for _, metrics in self._pending])
    self._pending = []
    loss, exit_loss, correct, finite = map(np.concatenate, zip(*measured, strict=True))
    self._check(loss, finite, first)
    self._time(last - first)
    share = self._curriculum.visible(last - 1) / len(self._curriculum.order)
    exits = self._by_exit(correct)
    self._write(
      last,
      loss=float(loss.mean()),
      exit_loss=self._by_exit(exit_loss),
      accuracy=exits,
      visible=share,
      learning_rate=float(self._plan.learning_rates[last - 1]),
      images_per_second=round(self._rate, 1),
    )
    accuracies = '  '.join(f'{name} {value:.1%}' for name, value in exits.items())
    speed = f'{self._rate:,.0f} images/s'
    self._text = f'loss {loss.mean():.3f}  {accuracies}  visible {share:.0%}  {speed}'
    return self._text

  def validate(self, done: int) -> None:
    """Writes the accuracy of the phase's exits on the validation split, by the run's model."""
    run, exits = self._run, self._plan.phase.exits
    split = run.dataset.validation
    logits = predict_split(run, split, exits)
    values = {name: accuracy(logits[:, k], split.labels) for k, name in enumerate(exits)}
    self._write(done, validation=values)
    self._since, self._steps = time.monotonic(), 0

  def _time(self, steps: int) -> None:
    """Updates the speed after more steps, at the end of an interval or if there is none yet."""
    now, self._steps = time.monotonic(), self._steps + steps
    if self.due or not self._rate:
      self._rate = self._steps * self._run.config.batch_size / (now - self._since)
    if self.due:
      self._since, self._steps = now, 0
    self.due = False

  def _by_exit(self, values: np.ndarray) -> dict[str, float]:
    """Returns the means over the steps of values [steps, exits], by exit."""
    return dict(zip(self._plan.phase.exits, values.mean(axis=0).tolist(), strict=True))

  def _check(self, loss: np.ndarray, finite: np.ndarray, first: int) -> None:
    bad = np.flatnonzero(~finite)
    if len(bad):
      step, phase = first + int(bad[0]), self._plan.phase
      what = 'parameters are not finite after' if np.isfinite(loss[bad[0]]) else 'loss is nan at'
      raise RunError(
        f'{what} step {step + 1} of phase {phase.name} (learning rate'
        f' {self._plan.learning_rates[step]:.3g}); the checkpoint before it is kept; use a lower'
        f' phases.{phase.settings}.learning_rate in a new work directory'
      )

  def _write(self, done: int, **values: Any) -> None:
    step = self._plan.before + done
    self._log.write({'step': step, 'phase': self._plan.phase.name, **values})


def passes(steps: range, every: int) -> bool:
  """Returns whether these steps reach a multiple of `every`; 0: never."""
  return bool(every) and steps.stop // every > steps.start // every
