"""Optimisers and learning-rate schedules of optax, by name."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import optax
import optax.contrib

from mecl_jax.durations import to_steps
from mecl_jax.errors import UserError


class OptimizerSettings(NamedTuple):
  """The fields of a phase's settings that `make_optimizer` reads; hashable."""

  optimizer: str
  momentum: float
  nesterov: bool
  weight_decay: float
  bias_rate: float

  @classmethod
  def of(cls, settings: ConfigDict) -> 'OptimizerSettings':
    """Returns those of a group of `config.phases`."""
    return cls(**{name: settings[name] for name in cls._fields})


def make_optimizer(settings: ConfigDict | OptimizerSettings) -> optax.GradientTransformation:
  """Makes the transformation of gradients into updates; parameters become `p - rate * update`.

  The learning rate is an input of the compiled step, so that another rate compiles nothing again.

  Muon replaces the update of a kernel, as a matrix with a column per output, by the nearest matrix
  with equal singular values.

  Args:
    settings: a group of `config.phases`.

  References:
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
  """
  decay = optax.add_decayed_weights(settings.weight_decay, mask=_kernels)
  rate, momentum = settings.bias_rate, settings.momentum
  if settings.optimizer == 'muon':
    muon = optax.contrib.scale_by_muon(
      beta=momentum, nesterov=settings.nesterov, weight_dimension_numbers=_matrices
    )
    others = optax.chain(optax.scale_by_adam(), optax.scale(rate))
    return optax.chain(optax.partition({True: muon, False: others}, _hidden), decay)
  parts: tuple[optax.GradientTransformation, ...] = {
    'sgd': (decay, optax.trace(momentum, settings.nesterov) if momentum else optax.identity()),
    'adam': (decay, optax.scale_by_adam()),
    'adamw': (optax.scale_by_adam(), decay),
  }[settings.optimizer]
  if rate != 1:
    parts = *parts, optax.masked(optax.scale(rate), _norm_biases)
  return optax.chain(*parts)


def _hidden(params, parent=''):
  """Returns which arrays Muon trains: kernels of convolutions and of inner dense layers."""
  return {
    name: _hidden(value, name)
    if isinstance(value, dict)
    else name == 'kernel' and value.ndim in (2, 4) and parent != 'linear'
    for name, value in params.items()
  }


def _matrices(params):
  """Returns how the arrays of `_hidden` are matrices: the last axis are the outputs."""
  return jax.tree.map(
    lambda p: optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1), params
  )


def _norm_biases(params):
  """Returns the mask of the biases of batch and layer norm, which stand beside no kernel."""
  return {
    name: _norm_biases(value)
    if isinstance(value, dict)
    else name == 'bias' and 'kernel' not in params
    for name, value in params.items()
  }


def _kernels(params):
  """Returns the mask of weight decay: kernels of convolutions, dense layers and attention.

  The name decides and not the number of axes: biases of attention have two, positions and class
  tokens two or three.
  """
  return {
    name: _kernels(value) if isinstance(value, dict) else name == 'kernel'
    for name, value in params.items()
  }


def learning_rates(settings: ConfigDict, *, steps: int, epoch: float, field: str) -> np.ndarray:
  """Returns the learning rate of every step of a phase, float32 [steps].

  Args:
    settings: `schedule`, `learning_rate` (the peak), `warmup`, `milestones`, `decay`.
    steps: of the phase.
    epoch: steps in one epoch.
    field: name of the settings in the configuration, for messages.

  Raises:
    UserError: the warm-up is as long as the phase, or a milestone lies within it.
  """
  peak = settings.learning_rate
  if not isinstance(peak, int | float):
    peak = 1.0  # every head has a rate of its own
  warmup = to_steps(settings.warmup, epoch=epoch, phase=steps, field=f'{field}.warmup')
  if warmup >= steps:
    raise UserError(
      f'{field}.warmup is {warmup} steps; it must be shorter than the phase, which has {steps}'
    )
  rest = steps - warmup
  if settings.schedule == 'one_cycle':
    schedule = optax.cosine_onecycle_schedule(steps, peak, pct_start=max(warmup, 1) / steps)
  else:
    after = {
      'constant': lambda: optax.constant_schedule(peak),
      'cosine': lambda: optax.cosine_decay_schedule(peak, rest),
      'linear': lambda: optax.linear_schedule(peak, 0, rest),
      'step': lambda: optax.piecewise_constant_schedule(
        peak, _milestones(settings, steps, epoch, warmup, field)
      ),
    }[settings.schedule]()
    # The warm-up starts above 0: a first step at a rate of 0 would be wasted.
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    schedule = optax.join_schedules([rise, after], [warmup])
  return np.asarray(jax.vmap(schedule)(jnp.arange(steps)), np.float32)


def _milestones(settings, steps, epoch, warmup, field) -> dict[int, float]:
  """Returns {step after the warm-up: factor}."""
  after = []
  for text in settings.milestones:
    step = to_steps(text, epoch=epoch, phase=steps, field=f'{field}.milestones')
    if step < warmup:
      raise UserError(
        f'{field}.milestones has {text!r}, step {step}, within {field}.warmup of {warmup} steps; it'
        ' must not be before the end of the warm-up'
      )
    after.append(step - warmup)
  return {step: settings.decay ** after.count(step) for step in after}
