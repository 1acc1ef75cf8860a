"""The plan of a run: the steps, learning rates, pacings and weights of every phase."""

from collections.abc import Sequence
import dataclasses
import math

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.curriculum import pacing, visible_count
from mecl_jax.curriculum.pacing import Pacing
from mecl_jax.durations import MOST_STEPS, is_zero, to_steps
from mecl_jax.errors import UserError
from mecl_jax.models import FINAL
from mecl_jax.models.own.factories import is_own
from mecl_jax.training.easy_strengths import make_strengths
from mecl_jax.training.exit_pacings import make_pacings, spread
from mecl_jax.training.exit_schedule import exit_factors
from mecl_jax.training.lookahead import slow_shares
from mecl_jax.training.optimizers import learning_rates
from mecl_jax.training.strategies import Phase, make_phases


@dataclasses.dataclass(frozen=True, eq=False)
class PhasePlan:
  """The plan of one phase.

  Attributes:
    phase: the parts that train and the exits that carry loss.
    index: among the phases of the run.
    before: optimiser steps of the phases before it.
    steps: optimiser steps of this one.
    settings: its group of `config.phases`.
    learning_rates: float32 [steps].
    head_rates: float32 [exits of the phase], factors for the parameters of heads; None: all are 1,
      or, with a learning rate of 'auto', are not found yet.
    slow_shares: float32 [steps], see `lookahead.slow_shares`; None: no lookahead.
    exit_weights: of the losses, one per exit of the phase.
    exit_factors: float32 [steps, exits of the phase], of `exit_weights`; None: all are 1.
    pacings: step -> visible share, one per exit of the phase.
    order: ranking of the examples; 'none' in phases without a curriculum.
    strengths: float64 [2, exits of the phase], see `easy_strengths.at_steps`.
    sample_weights: as the field; 'none' in phases without a curriculum.
    contradicted: as the field; 'keep' in phases without a curriculum.
    distilled: whether the final exit teaches the others by its logits.
    hinted: whether it teaches them by its features.
    recorded: epochs whose correct predictions are recorded, see `learning_speed.py`; 0: none.
    seeds: of the ranking, the batches and the augmentation.
    log_every, validate_every: steps; 0 validates only at the end.
  """

  phase: Phase
  index: int
  before: int
  steps: int
  settings: ConfigDict
  learning_rates: np.ndarray
  head_rates: np.ndarray | None
  slow_shares: np.ndarray | None
  exit_weights: tuple[float, ...]
  exit_factors: np.ndarray | None
  pacings: tuple[Pacing, ...]
  order: str
  strengths: np.ndarray
  sample_weights: str
  contradicted: str
  distilled: bool
  hinted: bool
  recorded: int
  seeds: tuple[int, int, int]
  log_every: int
  validate_every: int

  @property
  def pacing(self) -> Pacing:
    """Returns the pacing of the batches: at each step the largest share of any exit."""
    return pacing.largest(self.pacings)


def make_plan(
  config: ConfigDict,
  exits: Sequence[str],
  segments: Sequence[Sequence[str]],
  train_size: int,
  num_classes: int,
) -> tuple[PhasePlan, ...]:
  """Makes the plan of a run: one entry per phase.

  Args:
    config: resolved.
    exits: names of all exits, earliest first.
    segments: see `make_phases`.
    train_size: examples in the training split, without validation.
    num_classes: of the data set.

  Raises:
    UserError: the batch is larger than the split, a phase has no step, a field has another number
      of values than there are exits, or a pacing is invalid.
  """
  if config.batch_size > train_size:
    raise UserError(
      f'batch_size is {config.batch_size}; it must be at most {train_size}, the size of the'
      ' training split'
    )
  epoch = train_size / config.batch_size
  weights = spread(config.exit_weights, exits, 'exit_weights')
  strengths = make_strengths(config.curriculum, exits)
  plans: list[PhasePlan] = []
  phases = make_phases(config.strategy, exits, segments, frozen=config.model.frozen)
  for phase in phases:
    settings, field = config.phases[phase.settings], f'phases.{phase.settings}'
    has_weights = config.model.pretrained or is_own(config.model.backbone)
    if has_weights and not phase.curriculum and is_zero(settings.duration):
      continue  # the backbone keeps its weights
    whole = to_steps(settings.duration, epoch=epoch, field=f'{field}.duration')
    steps = round(whole * phase.share)
    index = len(plans)
    if steps < 1:
      raise UserError(
        f'{field}.duration is {settings.duration!r}, less than one step of phase {phase.name}'
      )
    if steps > MOST_STEPS:
      raise UserError(
        f'{field}.duration is {settings.duration!r}, {steps:,} steps; at most {MOST_STEPS:,} are'
        ' possible'
      )
    order = config.curriculum.order if phase.curriculum else 'none'
    pacings = _pacings(config, order, exits, steps, epoch)
    if order != 'none':
      _check_pacings(config, pacings, steps, train_size, num_classes)
    log = config.logging
    plans.append(
      PhasePlan(
        phase=phase,
        index=index,
        before=sum(p.steps for p in plans),
        steps=steps,
        settings=settings,
        learning_rates=learning_rates(settings, steps=steps, epoch=epoch, field=field),
        head_rates=_head_rates(settings, field, phase, phases),
        slow_shares=plan_slow_shares(settings, steps),
        exit_weights=_of_phase(weights, phase),
        exit_factors=exit_factors(config.exit_schedule, steps, len(phase.exits)),
        pacings=tuple(pacings[name] for name in phase.exits),
        order=order,
        strengths=np.array([strengths[name] for name in phase.exits]).T,
        sample_weights=config.curriculum.sample_weights if phase.curriculum else 'none',
        contradicted=config.curriculum.contradicted if phase.curriculum else 'keep',
        distilled=bool(phase.curriculum and config.distillation.weight),
        hinted=bool(phase.curriculum and config.distillation.feature_weight),
        recorded=_recorded(config, phase, order, plans, steps, train_size),
        seeds=_seeds(config.seed, index),
        log_every=max(1, to_steps(log.every, epoch=epoch, phase=steps)),
        validate_every=to_steps(log.validate_every, epoch=epoch, phase=steps),
      )
    )
  return tuple(plans)


def _head_rates(
  settings: ConfigDict, field: str, phase: Phase, phases: Sequence[Phase]
) -> np.ndarray | None:
  """Returns the factors of a phase, from one value per exit of all phases with these settings."""
  given, its_field = settings.head_rates, f'{field}.head_rates'
  if isinstance(settings.learning_rate, list | tuple):
    given, its_field = settings.learning_rate, f'{field}.learning_rate'
  if set(given) == {1.0}:
    return None
  names = [name for p in phases if p.settings == phase.settings for name in p.exits]
  rates = spread(given, names, its_field)
  return np.array([rates[name] for name in phase.exits], np.float32)


def plan_slow_shares(settings: ConfigDict, steps: int) -> np.ndarray | None:
  """Returns `PhasePlan.slow_shares` of a phase with these settings and steps."""
  every = settings.lookahead
  return slow_shares(steps, every, settings.lookahead_share) if every else None


def _of_phase(weights: dict[str, float], phase: Phase) -> tuple[float, ...]:
  mine = tuple(weights[name] for name in phase.exits)
  if not any(mine):
    raise UserError(
      f'exit_weights are all 0 in phase {phase.name}, with exits {", ".join(phase.exits)}'
    )
  return mine


def _pacings(
  config: ConfigDict, order: str, exits: Sequence[str], steps: int, epoch: float
) -> dict[str, Pacing]:
  made = make_pacings(config.curriculum, exits, steps=steps, epoch=epoch)
  return dict.fromkeys(exits, pacing.constant()) if order == 'none' else made


def _check_pacings(
  config: ConfigDict, pacings: dict[str, Pacing], steps: int, size: int, num_classes: int
) -> None:
  """Raises UserError for an invalid pacing, or a first prefix that lacks a class."""
  settings = config.curriculum
  for name, made in pacings.items():
    what = settings.pacing if settings.per_exit == 'shared' else f'of exit {name}'
    pacing.check(made, steps=steps, size=size, batch_size=config.batch_size, name=what)
    first = visible_count(made(0), size, config.batch_size)
    if settings.class_balanced and first < num_classes:
      raise UserError(
        f'pacing {what} starts with {first} examples, too few for all {num_classes} classes; raise'
        ' curriculum.start or batch_size, or set curriculum.class_balanced=False'
      )


def _recorded(
  config: ConfigDict,
  phase: Phase,
  order: str,
  before: Sequence[PhasePlan],
  steps: int,
  train_size: int,
) -> int:
  """Returns the epochs to record: those of the first phase that trains the final exit."""
  wanted = config.curriculum.teacher == 'learning_speed' and order == 'none'
  dropped = phase.curriculum and config.curriculum.contradicted == 'drop'  # no epoch has them all
  if (
    not wanted or dropped or FINAL not in phase.exits or any(FINAL in p.phase.exits for p in before)
  ):
    return 0
  # A duration in epochs is rounded to steps: the last epoch may lack half a batch.
  epochs = (steps * config.batch_size + config.batch_size // 2) // train_size
  if epochs < 1:
    needed = math.ceil(train_size / config.batch_size)
    raise UserError(
      f'curriculum.teacher=learning_speed needs at least one epoch, {needed:,} steps, and phase'
      f' {phase.name} has {steps:,}; raise phases.{phase.settings}.duration'
    )
  return epochs


def _seeds(seed: int, index: int) -> tuple[int, int, int]:
  """Returns three independent seeds of a phase."""
  a, b, c = np.random.SeedSequence((seed, index)).generate_state(3)
  return int(a), int(b), int(c)
