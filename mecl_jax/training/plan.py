"""From a configuration to numbers: what every phase of a run will do, checked before any of it."""

from collections.abc import Sequence
import dataclasses

from ml_collections import ConfigDict
import numpy as np

from mecl_jax import curriculum
from mecl_jax.curriculum.pacing import Pacing
from mecl_jax.durations import to_steps
from mecl_jax.errors import UserError
from mecl_jax.training.optimizers import learning_rates
from mecl_jax.training.strategies import Phase, make_phases


@dataclasses.dataclass(frozen=True, eq=False)
class PhasePlan:
  """A phase with its numbers.

  Attributes:
    phase: what trains, and on which exits.
    index: place among the run's phases.
    before: optimiser steps of the phases before it.
    steps: optimiser steps of this one.
    settings: its group of `config.phases`.
    learning_rates: float32 [steps].
    exit_weights: of the losses, one per exit of the phase.
    pacing: step -> visible share.
    order: how examples are ranked; 'none' in phases without a curriculum.
    seeds: of the ranking, the batches and the augmentation.
    log_every, validate_every: steps; 0 validates only at the end.
  """

  phase: Phase
  index: int
  before: int
  steps: int
  settings: ConfigDict
  learning_rates: np.ndarray
  exit_weights: tuple[float, ...]
  pacing: Pacing
  order: str
  seeds: tuple[int, int, int]
  log_every: int
  validate_every: int


def make_plan(
  config: ConfigDict, exits: Sequence[str], segments: Sequence[Sequence[str]], train_size: int
) -> tuple[PhasePlan, ...]:
  """The plan of a whole run.

  Args:
    config: resolved.
    exits: names of all exits, earliest first.
    segments: see `make_phases`.
    train_size: examples in the training split, validation cut off.

  Raises:
    UserError: a batch larger than the split, a phase without a step, weights that do not fit.
  """
  if config.batch_size > train_size:
    raise UserError(f'batch_size is {config.batch_size}; the training split has {train_size}')
  epoch = train_size / config.batch_size
  weights = _weights(config.exit_weights, exits)
  plans: list[PhasePlan] = []
  for index, phase in enumerate(make_phases(config.strategy, exits, segments)):
    settings, field = config.phases[phase.settings], f'phases.{phase.settings}'
    whole = to_steps(settings.duration, epoch=epoch, field=f'{field}.duration')
    steps = round(whole * phase.share)
    if steps < 1:
      raise UserError(f'{field}.duration is {settings.duration!r}: phase {phase.name} has no step')
    order = config.curriculum.order if phase.curriculum else 'none'
    log = config.logging
    plans.append(
      PhasePlan(
        phase=phase,
        index=index,
        before=sum(p.steps for p in plans),
        steps=steps,
        settings=settings,
        learning_rates=learning_rates(settings, steps=steps, epoch=epoch, field=field),
        exit_weights=_of_phase(weights, phase),
        pacing=_pacing(config.curriculum, order, steps, epoch),
        order=order,
        seeds=_seeds(config.seed, index),
        log_every=max(1, to_steps(log.every, epoch=epoch, phase=steps)),
        validate_every=to_steps(log.validate_every, epoch=epoch, phase=steps),
      )
    )
  return tuple(plans)


def _weights(given: Sequence[float], exits: Sequence[str]) -> dict[str, float]:
  if len(given) not in (1, len(exits)):
    raise UserError(f'exit_weights has {len(given)} values; give 1, or {len(exits)}: {exits}')
  values = tuple(given) * len(exits) if len(given) == 1 else given
  return dict(zip(exits, values, strict=True))


def _of_phase(weights: dict[str, float], phase: Phase) -> tuple[float, ...]:
  mine = tuple(weights[name] for name in phase.exits)
  if not any(mine):
    raise UserError(f'exit_weights are all 0 in phase {phase.name} (exits {phase.exits})')
  return mine


def _pacing(settings: ConfigDict, order: str, steps: int, epoch: float) -> Pacing:
  if order == 'none' or settings.pacing == 'constant':
    return curriculum.constant(1.0 if order == 'none' else settings.start)
  length = to_steps(settings.step_length, epoch=epoch, phase=steps, field='curriculum.step_length')
  return curriculum.fixed_exponential(settings.start, settings.increase, max(1, length))


def _seeds(seed: int, index: int) -> tuple[int, int, int]:
  """Three seeds per phase, apart from each other and from those of other phases."""
  a, b, c = np.random.SeedSequence((seed, index)).generate_state(3)
  return int(a), int(b), int(c)
