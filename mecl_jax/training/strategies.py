"""Training strategies: lists of phases, and what a strategy allows.

The names follow Scardapane et al., "Why Should We Add Early Exits to Neural Networks?", 2020, arXiv
2004.12814; 'mixed' is from Kubaty et al., ICML 2025, arXiv 2407.14320.
"""

from collections.abc import Sequence
import dataclasses

from ml_collections import ConfigDict

from mecl_jax.curriculum import NEED_TEACHER
from mecl_jax.errors import UserError
from mecl_jax.models.own.factories import is_own
from mecl_jax.models.placement import split_head
from mecl_jax.models.registry import CASCADE
from mecl_jax.training import weight_network
from mecl_jax.training.gating import BY_EARLIER_EXITS
from mecl_jax.training.gradients import PER_EXIT

Prefix = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Phase:
  """A part of training.

  Attributes:
    name: unique within a run.
    settings: the group of `config.phases` that holds its duration and optimiser.
    trainable: paths in the model whose parameters and batch statistics change; all others are
      frozen, bit for bit.
    exits: the exits that carry loss, earliest first.
    curriculum: whether the curriculum applies; otherwise all examples are visible.
    share: of the duration in `settings`.
    frozen_backbone: whether no stage is trainable, so that features may be computed once.
  """

  name: str
  settings: str
  trainable: tuple[Prefix, ...]
  exits: tuple[str, ...]
  curriculum: bool
  share: float = 1.0
  frozen_backbone: bool = False


def make_phases(
  strategy: str,
  exits: Sequence[str],
  segments: Sequence[Sequence[str]],
  *,
  frozen: bool = False,
) -> tuple[Phase, ...]:
  """Returns the phases of a strategy.

  Args:
    strategy: a valid value of the field `strategy`.
    exits: names of all exits, earliest first, 'final' last.
    segments: per exit, the backbone's stages between the exit before it and this one.
    frozen: whether no phase trains the backbone.
  """
  everything: tuple[Prefix, ...] = (('backbone',), ('heads',))
  final, early = exits[-1], tuple(exits[:-1])
  backbone = Phase('backbone', 'backbone', (('backbone',), ('heads', final)), (final,), False)
  joint = Phase('joint', 'joint', everything, tuple(exits), True)
  heads = Phase(
    'heads', 'heads', tuple(('heads', e) for e in early), early, True, frozen_backbone=True
  )
  layers = tuple(
    Phase(
      name=f'layer_{exit_name}',
      settings='joint',
      trainable=(*(('backbone', 'stages', s) for s in segment), ('heads', exit_name)),
      exits=(exit_name,),
      curriculum=True,
      share=1 / len(exits),
    )
    for exit_name, segment in zip(exits, segments, strict=True)
  )
  phases = {
    'joint': (joint,),
    'classifier_wise': (backbone, heads),
    'layer_wise': layers,
    'mixed': (backbone, joint),
  }[strategy]
  return tuple(map(_heads_only, phases)) if frozen else phases


def _heads_only(phase: Phase) -> Phase:
  heads = tuple(('heads', name) for name in phase.exits)
  return dataclasses.replace(phase, trainable=heads, frozen_backbone=True)


def needs_scores(config: ConfigDict) -> bool:
  """Returns whether training uses difficulty scores, to rank, weight or drop examples."""
  settings = config.curriculum
  weighted, drops = settings.sample_weights == 'easy_weighted', settings.contradicted == 'drop'
  return settings.order in NEED_TEACHER or weighted or drops


def scores_own_backbone(config: ConfigDict) -> bool:
  """Returns whether the teacher is the run's own backbone, after its phase has ended."""
  settings = config.curriculum
  own = settings.teacher in ('final_exit', 'learning_speed') or (
    settings.teacher == 'transfer' and not settings.teacher_workdir
  )
  return own and config.strategy in ('classifier_wise', 'mixed')


def check(config: ConfigDict) -> None:
  """Checks what a strategy needs of the exits.

  Args:
    config: each field valid by itself.

  Raises:
    UserError: a field that has no effect, or makes training impossible, with the strategy.
  """
  strategy, early = config.strategy, len(config.model.exits)
  _check_rates(config)
  _check_copies(config)
  if config.model.frozen and not (config.model.pretrained or is_own(config.model.backbone)):
    raise UserError('model.frozen needs pretrained weights: set model.pretrained')
  if not early and strategy != 'joint':
    raise UserError(
      f'model.exits is empty; strategy={strategy} needs an early exit (only joint does not)'
    )
  _check_together(config)
  if strategy == 'layer_wise':
    _check_exits_alone(config)
    return
  if (by_exits := config.curriculum.sample_weights) in BY_EARLIER_EXITS:
    needed = 2 if strategy == 'classifier_wise' else 1
    if early < needed:
      raise UserError(
        f'curriculum.sample_weights={by_exits} needs {needed} early exits with strategy={strategy};'
        f' model.exits has {early}'
      )
  if config.distillation.weight and not early:
    raise UserError('distillation.weight needs early exits to distil into: model.exits is empty')
  if config.distillation.weight == 1 and strategy != 'classifier_wise':
    raise UserError(
      f'distillation.weight is 1, so that labels carry no loss; with strategy={strategy} the final'
      ' exit, which teaches the others, would learn nothing; it must be below 1'
    )


def _check_copies(config: ConfigDict) -> None:
  """Raises UserError for augmented copies that no phase would train on, or that are all equal."""
  settings = config.augment
  if not settings.copies:
    return
  what = f'augment.copies={settings.copies} has no effect'
  if not config.model.frozen and config.strategy != 'classifier_wise':
    raise UserError(
      f'{what} with strategy={config.strategy}: it is for heads on a frozen backbone; set'
      ' strategy=classifier_wise, model.frozen=True, or augment.copies=0'
    )
  if not config.cache_features:
    raise UserError(
      f'{what} with cache_features=False, which augments in every step; set only one of them'
    )
  if not (settings.crop or settings.flip or settings.cutout):
    raise UserError(
      f'{what} without augmentation: set augment.crop, augment.flip or augment.cutout'
    )


def _check_rates(config: ConfigDict) -> None:
  """Raises UserError for rates of heads where more than heads train, or heads are not alone."""
  used = {
    'classifier_wise': ('backbone', 'heads'),
    'mixed': ('backbone', 'joint'),
  }.get(config.strategy, ('joint',))
  for name in used:
    settings, field = config.phases[name], f'phases.{name}.learning_rate'
    rate = settings.learning_rate
    if isinstance(rate, int | float):
      continue
    if name != 'heads' and not config.model.frozen:
      raise UserError(
        f'{field} is {rate}; it must be one number, since the phase trains the backbone too; give'
        f' factors of it for the heads in phases.{name}.head_rates'
      )
    if set(settings.head_rates) != {1.0}:
      raise UserError(f'set only one of {field}={rate} and phases.{name}.head_rates')
    if rate == 'auto' and not config.cache_features:
      raise UserError(f'{field} is auto, which needs cache_features=True')
    if rate == 'auto' and (reason := dependence(config)):
      raise UserError(f'{field} is auto, which needs independent exits: {reason}')


def dependence(config: ConfigDict) -> str:
  """Returns why the training of a head depends on that of another; '' if none does.

  Args:
    config: resolved, whose backbone is frozen while the heads train.
  """
  if (weights := config.curriculum.sample_weights) in BY_EARLIER_EXITS:
    return f'{weights} weights depend on earlier exits'
  if config.distillation.weight and config.strategy != 'classifier_wise':
    return 'with distillation the final exit teaches while it trains'
  heads = [head or config.model.head for _, head in map(split_head, config.model.exits)]
  if cascades := [head for head in heads if head.startswith(CASCADE)]:
    return f'{cascades[0]} takes inputs from the exit before'
  return ''


def _check_together(config: ConfigDict) -> None:
  """Raises UserError for fields that need exits that train the backbone in one phase."""
  weights, hint = config.curriculum.sample_weights, config.distillation.feature_weight
  learned = weights == weight_network.METHOD
  for field, used in (
    (f'gradients={config.gradients}', config.gradients != 'sum'),
    (f'exit_schedule={config.exit_schedule}', config.exit_schedule != 'constant'),
    (f'curriculum.sample_weights={weights}', learned),
    (f'distillation.feature_weight={hint:g}', hint),
  ):
    if not used:
      continue
    if config.model.frozen:
      raise UserError(f'model.frozen trains no backbone: {field} has no effect')
    if config.strategy not in ('joint', 'mixed') or not config.model.exits:
      raise UserError(
        f'{field} needs several exits that train the backbone together: strategy=joint or mixed,'
        ' and an early exit'
      )
  if learned:
    _check_look_ahead(config)


def _check_look_ahead(config: ConfigDict) -> None:
  """Raises UserError for fields that weights by `weight_network` do not allow."""
  optimizer, method, size = config.phases.joint.optimizer, config.gradients, config.batch_size
  for wrong, valid in (
    (optimizer != 'sgd' and f'phases.joint.optimizer is {optimizer}', 'sgd'),
    (method in PER_EXIT and f'gradients is {method}', 'sum, equilibrium or partition'),
    (size < 2 and f'batch_size is {size}', '2 or more'),
  ):
    if wrong:
      raise UserError(
        f'curriculum.sample_weights={weight_network.METHOD} looks one step of SGD ahead, with half'
        f' of a batch: {wrong}; it must be {valid}'
      )


def _check_exits_alone(config: ConfigDict) -> None:
  """Raises UserError for fields that need several exits in one phase."""
  for field, used, neutral in (
    ('curriculum.sample_weights', config.curriculum.sample_weights in BY_EARLIER_EXITS, 'none'),
    ('distillation.weight', config.distillation.weight, 0),
  ):
    if used:
      raise UserError(
        f'strategy=layer_wise trains one exit at a time: {field} needs several exits at once and'
        f' must be {neutral}'
      )
