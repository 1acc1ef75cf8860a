"""The loop of one phase: dispatch steps, log, validate, save, stop when asked to."""

from collections.abc import Callable
import dataclasses
import time
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from mecl_jax.curriculum import Curriculum
from mecl_jax.data.augment import augment
from mecl_jax.errors import RunError
from mecl_jax.evaluation import accuracy, predict
from mecl_jax.models import FINAL, MultiExit, set_trainable
from mecl_jax.training import devices, record, sources
from mecl_jax.training.batches import batch_maker, make_layout
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.interruption import Interrupted
from mecl_jax.training.log import Bar, Metrics, work
from mecl_jax.training.optimizers import make_optimizer
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.step import Arrays, Moving, Objective, make_step, split


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
  """Where a phase is taken up.

  Attributes:
    position: in the run.
    moments: what `moments_of` gave there; nothing at the beginning of the phase.
    began: `time.monotonic()` at which the run would have begun, had it never stopped.
  """

  position: Position
  moments: Arrays
  began: float


def begin(run: Run, plan: PhasePlan) -> tuple[nnx.GraphDef, Moving, Arrays]:
  """The run's model at the beginning of a phase, parted by `step.split`."""
  memory: Arrays = {}
  if plan.distilled:
    memory['temperature'] = np.float32(run.config.distillation.temperature)
  if plan.recorded:
    memory |= record.begin(len(run.dataset.train))
  return split(run.model, plan.phase.trainable, make_optimizer(plan.settings), memory)


def moments_of(moving: Moving) -> Arrays:
  """What a phase needs beside the model to go on in its middle; nothing in it is empty."""
  memory = {'memory': moving.memory} if moving.memory else {}
  return {'optimizer': moving.optimizer, **memory}


def train_phase(
  run: Run,
  plan: PhasePlan,
  curriculum: Curriculum,
  easiness: np.ndarray | None,
  start: Start,
  checkpoints: Checkpoints,
  metrics: Metrics,
) -> Position:
  """Trains a phase from where it stands to its end; the run's model is changed in place.

  Args:
    run: the run.
    plan: of this phase.
    curriculum: what is shown when.
    easiness: see `batch_maker`.
    start: where it is taken up.
    checkpoints: saved to every now and then.
    metrics: written to.

  Returns:
    the position at the beginning of the next phase, which is saved too.

  Raises:
    Interrupted: a stop was asked for; everything up to it is saved.
    RunError: the loss is not a number; the last checkpoint before it stays.
  """
  set_trainable(run.model, plan.phase.trainable)
  graphdef, moving, frozen = begin(run, plan)
  everywhere = devices.replicated(run.mesh)
  moving, frozen = jax.device_put((moving._replace(**start.moments), frozen), everywhere)
  source = _source(run, plan)
  step = make_step(
    graphdef,
    make_optimizer(plan.settings),
    objective_of(run.config, plan),
    augment=_augmentation(run, plan),
  )
  key = jax.device_put(jax.random.key(plan.seeds[2]), everywhere)
  streamed = source is None
  layout = make_layout(run.mesh, plan, streamed=streamed)
  make = batch_maker(run, plan, curriculum, easiness, streamed=streamed)
  keeper = _Keeper(run, plan, start.began, checkpoints)
  meter = _Meter(run, plan, curriculum, metrics)
  done = start.position.step
  with Bar(run.console, plan.phase.name, plan.steps, done) as bar:
    for steps, batches in sources.dispatches(
      make, range(done, plan.steps), per_dispatch(run.config, plan.steps), streamed
    ):
      with jax.transfer_guard('disallow'):
        moving, measured = step(moving, frozen, source or {}, key, jax.device_put(batches, layout))
      if meter.due:  # the step just sent runs while the ones before it are read
        bar.update(steps.start, meter.report())
      meter.add(steps, measured)
      bar.update(steps.stop)
      if steps.stop == plan.steps:
        break  # the end has more to keep than a step
      if _passes(steps, plan.validate_every):
        bar.update(steps.stop, meter.report())
        meter.validate(steps.stop, moving)
      if keeper.due() or run.interruption.signal:
        bar.update(steps.stop, meter.report())  # raises on a loss that is not a number
        keeper.save(steps.stop, moving)
        if run.interruption.signal:
          raise Interrupted(run.interruption.signal)
    bar.update(plan.steps, meter.report())
    meter.validate(plan.steps, moving)
  _keep_record(run, plan, moving)
  position = keeper.save(plan.steps, moving)
  run.interruption.check()
  return position


def _keep_record(run: Run, plan: PhasePlan, moving: Moving) -> None:
  """Writes the record of a phase that has one: before the save that ends it for good."""
  if plan.recorded:
    noted = jax.device_get({name: moving.memory[name] for name in record.begin(0)})
    record.save(run.workdir, run.dataset.train.ids, noted, plan.recorded)


def objective_of(config: ConfigDict, plan: PhasePlan) -> Objective:
  """What the steps of a phase minimise."""
  taught = config.distillation
  return Objective(
    exits=plan.phase.exits,
    label_smoothing=plan.settings.label_smoothing,
    survivors=plan.sample_weights == 'survivors',
    distilled=taught.weight if plan.distilled else 0.0,
    growth=taught.growth,
    growth_above=taught.growth_above,
  )


def _source(run: Run, plan: PhasePlan) -> Arrays | None:
  """Images or cached features on the device; None where the host streams."""
  train = run.dataset.train
  if plan.phase.frozen_backbone and run.config.cache_features:
    with work(run.console, 'features', len(train), run.interruption.check) as on_batch:
      features = sources.cached_features(
        run.model, train, plan.phase.exits, run.mesh, on_batch=on_batch
      )
    if features is not None:
      return {**features, **_soft_targets(run, plan)}
    run.console.print('features do not fit in memory: the frozen backbone runs in every step')
  return sources.resident(train, run.config.data.placement, run.mesh)


def _soft_targets(run: Run, plan: PhasePlan) -> Arrays:
  """The frozen final exit's logits of every example, on every device, if it teaches."""
  if not plan.distilled:
    return {}
  train = run.dataset.train
  with work(run.console, 'soft targets', len(train), run.interruption.check) as on_batch:
    logits = predict(run.model, train.images, (FINAL,), mesh=run.mesh, on_batch=on_batch)
  return {'teacher': jax.device_put(logits[:, 0], devices.replicated(run.mesh))}


def _augmentation(run: Run, plan: PhasePlan) -> Callable | None:
  """`(key, images) -> images`; None where nothing is augmented."""
  wanted = run.config.augment
  if not any(wanted.values()) or (plan.phase.frozen_backbone and run.config.cache_features):
    return None
  fill = jnp.asarray(np.round(255 * run.pixel_mean), jnp.uint8)
  return lambda key, images: augment(key, images, **wanted, fill=fill)


def per_dispatch(config: ConfigDict, steps: int) -> int:
  """Optimiser steps in one call to the device, of a phase of so many.

  On an accelerator a number that divides `steps`, where one does: for fewer steps in the last call
  all would be compiled again.
  """
  if config.steps_per_dispatch:
    return config.steps_per_dispatch
  return 1 if devices.on_cpu() else max((n for n in range(8, 17) if steps % n == 0), default=16)


def _passes(steps: range, every: int) -> bool:
  """Whether a multiple of `every` is reached by these steps."""
  return bool(every) and steps.stop // every > steps.start // every


def _update(model: MultiExit, moving: Moving) -> None:
  """Puts what moved back into the model; the next step makes it stale again (donation)."""
  nnx.update(model, moving.params, moving.statistics)


class _Keeper:
  """Saves checkpoints when it is time to."""

  def __init__(self, run: Run, plan: PhasePlan, began: float, checkpoints: Checkpoints):
    self._run, self._plan, self._began, self._checkpoints = run, plan, began, checkpoints
    self._saved = time.monotonic()

  def due(self) -> bool:
    return time.monotonic() - self._saved >= self._run.config.checkpoints.every_seconds

  def save(self, done: int, moving: Moving) -> Position:
    ended = done == self._plan.steps
    position = Position(
      phase=self._plan.index + ended,
      step=0 if ended else done,
      total=self._plan.before + done,
      wall_seconds=time.monotonic() - self._began,
      run=self._run.digest,
    )
    _update(self._run.model, moving)
    self._checkpoints.save(position, self._run.model, {} if ended else moments_of(moving))
    self._saved = time.monotonic()
    return position


class _Meter:
  """Collects what the steps measured and reports the mean since the last report.

  The speed is that of the last whole interval of logging, once there has been one: an accelerator
  has done a part of what follows a report by the time it is read, so that few steps look too fast.
  """

  def __init__(self, run: Run, plan: PhasePlan, curriculum: Curriculum, metrics: Metrics):
    self._run, self._plan, self._curriculum, self._metrics = run, plan, curriculum, metrics
    self._pending: list[tuple[range, Any]] = []
    self._text = ''
    self._rate = 0.0  # images per second
    self._since, self._steps = time.monotonic(), 0  # what is timed, and the steps reported in it
    self.due = False

  def add(self, steps: range, measured: Any) -> None:
    self._pending.append((steps, measured))
    self.due = _passes(steps, self._plan.log_every)

  def report(self) -> str:
    """Writes one record of the steps since the last; returns it as text for the progress bar."""
    if not self._pending:
      self.due = False
      return self._text
    first, last = self._pending[0][0].start, self._pending[-1][0].stop
    measured = jax.device_get([m for _, m in self._pending])
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

  def _time(self, steps: int) -> None:
    """Measures the speed after so many more steps, if an interval has ended or none has yet."""
    now, self._steps = time.monotonic(), self._steps + steps
    if self.due or not self._rate:
      self._rate = self._steps * self._run.config.batch_size / (now - self._since)
    if self.due:
      self._since, self._steps = now, 0
    self.due = False

  def _by_exit(self, values: np.ndarray) -> dict[str, float]:
    """Means over the steps of values [steps, exits]."""
    return dict(zip(self._plan.phase.exits, values.mean(axis=0).tolist(), strict=True))

  def _check(self, loss: np.ndarray, finite: np.ndarray, first: int) -> None:
    bad = np.flatnonzero(~finite)
    if len(bad):
      step = first + int(bad[0])
      what = 'parameters are not finite after' if np.isfinite(loss[bad[0]]) else 'loss is nan at'
      raise RunError(
        f'{what} step {step + 1} of phase {self._plan.phase.name}'
        f' (learning rate {self._plan.learning_rates[step]:.3g}); the checkpoint before it stays;'
        f' try a lower phases.{self._plan.phase.settings}.learning_rate in a new work directory'
      )

  def validate(self, done: int, moving: Moving) -> None:
    """Accuracy of the phase's exits on the validation split."""
    run, exits = self._run, self._plan.phase.exits
    _update(run.model, moving)
    split_ = run.dataset.validation
    logits = predict(run.model, split_.images, exits, mesh=run.mesh)
    values = {name: accuracy(logits[:, k], split_.labels) for k, name in enumerate(exits)}
    self._write(done, validation=values)
    self._since, self._steps = time.monotonic(), 0

  def _write(self, done: int, **values: Any) -> None:
    step = self._plan.before + done
    self._metrics.write({'step': step, 'phase': self._plan.phase.name, **values})
