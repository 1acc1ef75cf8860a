"""The steps of one phase: the compiled step, its state, and the batches that it takes."""

from collections.abc import Iterator
import functools

from flax import nnx
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from mecl_jax.curriculum import Curriculum
from mecl_jax.models import MultiExit, exit_scope, set_trainable
from mecl_jax.training import (
  devices,
  hints,
  learning_speed,
  own_confidence,
  sources,
  weight_network,
)
from mecl_jax.training.augmentation import Augmentation, augments, copies_of
from mecl_jax.training.batches import batch_maker, make_layout
from mecl_jax.training.gating import BY_EARLIER_EXITS
from mecl_jax.training.objective import Arrays, Objective
from mecl_jax.training.optimizers import OptimizerSettings, make_optimizer
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.step import StepMetrics, TrainState, make_step, split


class PhaseSteps:
  """The optimiser steps of one phase.

  Args:
    run: its model is put into the mode of the phase. A step donates its input, so that the model's
      trainable arrays are invalid until `update_model`.
    plan: of the phase.
    curriculum: which examples are shown at which step.
    easiness: [N] of the training examples, see `batch_maker`; None: all have the same weight.
    source: examples or features on the device, see `sources`; None: the host streams them.
    unfinished: what `unfinished` returned at the step to resume at; empty at the start.

  Attributes:
    state: after the steps that were taken.
    batch_size: examples per step.
    parts: names of the scopes of stages and heads in the compiled step, in the order of the data.
  """

  def __init__(
    self,
    run: Run,
    plan: PhasePlan,
    curriculum: Curriculum,
    easiness: np.ndarray | None,
    source: Arrays | None,
    unfinished: Arrays | None = None,
  ):
    self._run, self._plan, self._source = run, plan, source
    self.batch_size: int = run.config.batch_size
    self.parts = _scopes(run.model)
    set_trainable(run.model, plan.phase.trainable)
    graphdef, state, frozen = initial_state(run, plan)
    everywhere, streamed = devices.replicated(run.mesh), source is None
    # Copies whose features do not fit into memory are made in every step, as the same images.
    on_images = augments(run.config, plan) or (
      copies_of(run.config, plan) > 0 and 'summaries' not in (source or {})
    )
    self.state, self._frozen, self._key = jax.device_put(
      (state._replace(**unfinished or {}), frozen, jax.random.key(plan.seeds[2])), everywhere
    )
    self._step = _compiled_step(
      graphdef,
      OptimizerSettings.of(plan.settings),
      objective_of(run.config, plan),
      Augmentation.of(run) if on_images else None,
    )
    self._layout = make_layout(run, plan, streamed=streamed)
    self._make = batch_maker(run, plan, curriculum, easiness, streamed=streamed)

  def take(self, start: int = 0) -> Iterator[tuple[range, StepMetrics]]:
    """Takes the steps from `start` to the end of the phase.

    Yields:
      the steps of each call to the device and their metrics, which may still be in computation.
    """
    steps, streamed = range(start, self._plan.steps), self._source is None
    at_once = steps_per_dispatch(self._run.config, self._plan.steps)
    for taken, batches in sources.dispatches(self._make, steps, at_once, streamed):
      with jax.transfer_guard('disallow'):
        sent = jax.device_put(batches, self._layout)
        self.state, metrics = self._step(
          self.state, self._frozen, self._source or {}, self._key, sent
        )
      yield taken, metrics

  def lower(self) -> jax.stages.Lowered:
    """Lowers the first call to the device, for an analysis of its cost; takes no step."""
    at_once = steps_per_dispatch(self._run.config, self._plan.steps)
    sent = jax.device_put(self._make(range(min(at_once, self._plan.steps))), self._layout)
    return self._step.lower(self.state, self._frozen, self._source or {}, self._key, sent)

  def update_model(self) -> None:
    """Puts the state into the model; the next step makes it invalid again (donation)."""
    nnx.update(self._run.model, self.state.params, self.state.batch_stats)

  def unfinished(self) -> Arrays:
    """Returns what a phase needs beside the model to resume; no entry is empty."""
    return unfinished(self.state)


def _scopes(model: MultiExit) -> tuple[str, ...]:
  exits = zip(model.segments, model.exit_names, strict=True)
  return tuple(scope for stages, name in exits for scope in (*stages, exit_scope(name)))


def initial_state(run: Run, plan: PhasePlan) -> tuple[nnx.GraphDef, TrainState, Arrays]:
  """Splits the run's model for a phase, as `step.split`, with a new optimiser state."""
  extra: Arrays = {}
  if plan.distilled:
    extra['temperature'] = np.float32(run.config.distillation.temperature)
  if plan.recorded:
    extra |= learning_speed.empty_record(len(run.dataset.train))
  optimizer, exits = make_optimizer(plan.settings), plan.phase.exits
  if plan.sample_weights == 'own_confidence':
    extra |= own_confidence.empty_record(len(run.dataset.train), len(exits))
  if plan.sample_weights == weight_network.METHOD:
    extra['weight_network'] = weight_network.new_network(len(exits), jax.random.key(plan.seeds[0]))
  graphdef, state, frozen = split(run.model, plan.phase.trainable, optimizer, extra)
  if plan.hinted:
    extra['adapters'] = hints.new_adapters(
      run.model, exits, run.dataset.image_shape, jax.random.key(plan.seeds[1])
    )
    trained = {**state.params, 'adapters': extra['adapters']}
    state = state._replace(opt_state=optimizer.init(trained))
  if plan.slow_shares is not None:  # copies, because a step donates each array of its input once
    extra['slow'] = jax.tree.map(jnp.copy, (state.params, state.batch_stats))
  return graphdef, state._replace(extra=extra), frozen


def unfinished(state: TrainState) -> Arrays:
  """Returns the parts of a train state that the model does not hold; no entry is empty."""
  return {'opt_state': state.opt_state} | ({'extra': state.extra} if state.extra else {})


def objective_of(config: ConfigDict, plan: PhasePlan) -> Objective:
  """Returns the loss of a phase."""
  distillation, own = config.distillation, plan.sample_weights == 'own_confidence'
  in_step = plan.sample_weights in (*BY_EARLIER_EXITS, weight_network.METHOD)
  return Objective(
    exits=plan.phase.exits,
    label_smoothing=plan.settings.label_smoothing,
    sample_weights=plan.sample_weights if in_step else 'none',
    gate=config.curriculum.gate_confidence if plan.sample_weights.startswith('cgt') else 0.0,
    distilled=distillation.weight if plan.distilled else 0.0,
    growth=distillation.growth,
    growth_above=distillation.growth_above,
    hint=distillation.feature_weight if plan.hinted else 0.0,
    gradients=config.gradients if len(plan.phase.exits) > 1 else 'sum',
    radius=config.cagrad_radius if config.gradients == 'cagrad' else 0.0,
    decay=config.curriculum.confidence_decay if own else 0.0,
    task=config.task,
    huber_delta=config.huber_delta,
  )


def steps_per_dispatch(config: ConfigDict, steps: int) -> int:
  """Returns the number of optimiser steps per call to the device, in a phase of `steps`.

  On an accelerator it is a divisor of `steps` if possible: a shorter last call would need another
  compilation.
  """
  if config.steps_per_dispatch:
    return config.steps_per_dispatch
  return 1 if devices.on_cpu() else max((n for n in range(8, 17) if steps % n == 0), default=16)


# Studies train the same heads many times: one compilation serves all runs of one form.
@functools.lru_cache(maxsize=64)
def _compiled_step(
  graphdef: nnx.GraphDef,
  optimizer: OptimizerSettings,
  objective: Objective,
  augmentation: Augmentation | None,
):
  return make_step(
    graphdef,
    make_optimizer(optimizer),
    objective,
    augment=augmentation,
    augment_copy=augmentation.of_copy if augmentation else None,
  )
