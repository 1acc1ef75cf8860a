"""Optimisers and learning-rate schedules, by name, all from optax."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import optax

from mecl_jax.durations import to_steps
from mecl_jax.errors import UserError

OPTIMIZERS = ('sgd', 'adam', 'adamw')
SCHEDULES = ('constant', 'cosine', 'one_cycle', 'step')


def make_optimizer(settings: ConfigDict) -> optax.GradientTransformation:
  """The direction of a step, for a descent of `-learning_rate * update`.

  The learning rate is left to the caller: it is an input of the compiled step, so that another rate
  compiles nothing anew.

  Args:
    settings: a group of `config.phases`: `optimizer`, `momentum`, `nesterov`, `weight_decay`.
  """
  decay = optax.add_decayed_weights(settings.weight_decay, mask=_kernels)
  if settings.optimizer == 'sgd':
    momentum = settings.momentum
    return optax.chain(
      decay, optax.trace(momentum, settings.nesterov) if momentum else optax.identity()
    )
  if settings.optimizer == 'adam':
    return optax.chain(decay, optax.scale_by_adam())
  return optax.chain(optax.scale_by_adam(), decay)


def _kernels(params):
  """Weight decay spares biases and batch norm's scales: all that has one axis."""
  return {k: _kernels(v) if isinstance(v, dict) else v.ndim > 1 for k, v in params.items()}


def learning_rates(settings: ConfigDict, *, steps: int, epoch: float, field: str) -> np.ndarray:
  """The learning rate of every step of a phase, float32 [steps].

  Args:
    settings: `schedule`, `learning_rate` (the peak), `warmup`, `milestones`, `decay`.
    steps: in the phase.
    epoch: steps in one epoch.
    field: name of the settings in the configuration, for messages.

  Raises:
    UserError: the warm-up is as long as the phase.
  """
  peak = settings.learning_rate
  warmup = to_steps(settings.warmup, epoch=epoch, phase=steps, field=f'{field}.warmup')
  if warmup >= steps:
    raise UserError(f'{field}.warmup is {warmup} steps; the phase has {steps}')
  rest = steps - warmup
  if settings.schedule == 'one_cycle':
    schedule = optax.cosine_onecycle_schedule(steps, peak, pct_start=max(warmup, 1) / steps)
  else:
    after = {
      'constant': lambda: optax.constant_schedule(peak),
      'cosine': lambda: optax.cosine_decay_schedule(peak, rest),
      'step': lambda: optax.piecewise_constant_schedule(
        peak, _milestones(settings, steps, epoch, warmup, field)
      ),
    }[settings.schedule]()
    # The first step of a warm-up is not wasted at a rate of 0.
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    schedule = optax.join_schedules([rise, after], [warmup])
  return np.asarray(jax.vmap(schedule)(jnp.arange(steps)), np.float32)


def _milestones(settings, steps, epoch, warmup, field) -> dict[int, float]:
  """{step after the warm-up: factor}; milestones within the warm-up count from its end."""
  at = [
    to_steps(text, epoch=epoch, phase=steps, field=f'{field}.milestones')
    for text in settings.milestones
  ]
  after = [max(step - warmup, 0) for step in at]
  return {step: settings.decay ** after.count(step) for step in after}
