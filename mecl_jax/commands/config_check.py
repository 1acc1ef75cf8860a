"""The checks on a configuration: every value that cannot work, told before anything is loaded."""

from collections.abc import Callable
import math
from typing import Any

from ml_collections import ConfigDict

from mecl_jax import curriculum, models
from mecl_jax.config import flatten
from mecl_jax.durations import listed, to_steps
from mecl_jax.errors import UserError, choose
from mecl_jax.models import FINAL
from mecl_jax.teachers import scoring as teachers
from mecl_jax.teachers import transfer
from mecl_jax.training import (
  exit_pacings as pacings,
)
from mecl_jax.training import (
  initial_weights as weights,
)
from mecl_jax.training import (
  optimizers,
  run,
  strategies,
)


def check(config: ConfigDict) -> None:
  """Raises UserError for the first value that cannot work, before anything is loaded."""
  fields = dict(flatten(config))
  choices = {
    'strategy': strategies.STRATEGIES,
    'data.placement': ('auto', 'device', 'host'),
    'model.backbone': models.BACKBONES,
    'model.stem': models.STEMS,
    'model.head': models.HEADS,
    'model.dtype': models.DTYPES,
    'model.preprocessing': run.PREPROCESSING,
    'curriculum.order': curriculum.ORDERS,
    'curriculum.pacing': curriculum.pacing.PACINGS,
    'curriculum.per_exit': pacings.PER_EXIT,
    'curriculum.sample_weights': strategies.SAMPLE_WEIGHTS,
    'curriculum.teacher': teachers.MEASURES_OF,
    'curriculum.classifier': transfer.CLASSIFIERS,
  }
  for phase in config.phases:
    choices[f'phases.{phase}.optimizer'] = optimizers.OPTIMIZERS
    choices[f'phases.{phase}.schedule'] = optimizers.SCHEDULES
  for field, valid in choices.items():
    choose(field, fields[field], valid)
  teacher = config.curriculum.teacher
  choose(
    f'curriculum.measure of teacher {teacher}',
    config.curriculum.measure,
    teachers.MEASURES_OF[teacher],
  )
  for field, valid_range in _RANGES.items():
    for name in (n for n in fields if n == field or n.endswith('.' + field)):
      _within(name, fields[name], *valid_range)
  for name in (n for n in fields if n.rpartition('.')[2] in _DURATIONS):
    value = fields[name]
    for text in value if isinstance(value, tuple) else listed(value):
      # Long enough that only a duration of 0 has no step.
      long = 10**9
      share_makes_sense = not name.endswith('.duration')
      steps = to_steps(text, epoch=long, phase=long if share_makes_sense else None, field=name)
      needed = name.endswith(('.duration', '.step_length', '.full_after'))
      if needed and not steps and name != 'phases.backbone.duration':
        raise UserError(f'{name} is {text!r}; it must be above 0')
  weights.check(config)
  _check_teacher(config.curriculum, config.model.exits)
  if not config.model.exits and config.strategy != 'joint':
    raise UserError(
      f'model.exits is empty; strategy={config.strategy} needs an early exit (joint does not)'
    )
  pacings.check(config.curriculum)
  if config.evaluation.target_macs and config.evaluation.target_latency_ms:
    raise UserError('evaluation.target_macs and .target_latency_ms are two wishes; set one to 0')
  if config.strategy == 'layer_wise':
    _check_exits_alone(config)
  else:
    _check_exits_together(config)


def _check_teacher(settings: ConfigDict, exits: tuple) -> None:
  """Raises UserError for what a teacher needs and has not, or has and would not look at."""
  teacher = settings.teacher
  for field, needed_by, used_by in (
    ('teacher_workdir', ('checkpoint',), ('checkpoint', 'transfer', 'prediction_depth')),
    ('difficulty_file', ('file',), ('file',)),
  ):
    if teacher in needed_by and not settings[field]:
      raise UserError(f'curriculum.teacher={teacher} needs curriculum.{field}')
    if settings[field] and teacher not in used_by:
      raise UserError(
        f'curriculum.{field} is of no use to curriculum.teacher={teacher}; it is for:'
        f' {", ".join(used_by)}'
      )
  if settings.teacher_exit != FINAL and teacher != 'checkpoint':
    raise UserError(f'curriculum.teacher_exit is of no use to curriculum.teacher={teacher}')
  if teacher == 'prediction_depth' and not (exits or settings.teacher_workdir):
    raise UserError('curriculum.teacher=prediction_depth needs early exits: model.exits is empty')


def _check_exits_together(config: ConfigDict) -> None:
  """Raises UserError for what has no effect, or a ruinous one, on the exits that train at once."""
  early = len(config.model.exits)
  if config.curriculum.sample_weights == 'survivors':
    needed = 2 if config.strategy == 'classifier_wise' else 1
    if early < needed:
      raise UserError(
        f'curriculum.sample_weights=survivors needs {needed} early exits with'
        f' strategy={config.strategy}; model.exits has {early}'
      )
  if config.distillation.weight and not early:
    raise UserError('distillation.weight needs early exits to teach: model.exits is empty')
  if config.distillation.weight == 1 and config.strategy != 'classifier_wise':
    raise UserError(
      f'distillation.weight=1 leaves the labels out, and with strategy={config.strategy} the final'
      ' exit, which teaches, has nothing else to learn from; it must be below 1'
    )


def _check_exits_alone(config: ConfigDict) -> None:
  """Raises UserError for what needs several exits in one phase."""
  for field, value, without in (
    ('curriculum.sample_weights', config.curriculum.sample_weights == 'survivors', 'none'),
    ('distillation.weight', config.distillation.weight, 0),
  ):
    if value:
      raise UserError(
        f'strategy=layer_wise trains one exit at a time, before those after it: {field} needs'
        f' several at once and must be {without}'
      )


_DURATIONS = (
  'duration',
  'warmup',
  'milestones',
  'step_length',
  'boundaries',
  'full_after',
  'every',
  'validate_every',
)


def _are_weights(values: Any) -> bool:
  numbers = all(isinstance(v, float) and 0 <= v < math.inf for v in values)
  return numbers and sum(values) > 0


def _are_factors(values: Any) -> bool:
  return bool(values) and all(isinstance(v, float) and 0 < v < math.inf for v in values)


def _are_counts(values: Any) -> bool:
  whole = bool(values) and all(isinstance(v, int) and v >= 1 for v in values)
  return whole and len(set(values)) == len(values)


# field (anywhere in the tree): (test, what it must be)
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
  'seed': (lambda v: 0 <= v < 2**32, 'a whole number from 0 to 2^32 - 1'),
  'batch_size': (lambda v: v >= 1, 'at least 1'),
  'validation_size': (lambda v: v >= 1, 'at least 1'),
  'split_seed': (lambda v: v >= 0, 'a whole number of 0 or more'),
  'image_size': (lambda v: v == 0 or v >= 8, '0 or at least 8'),
  'crop': (lambda v: v >= 0, 'at least 0'),
  'cutout': (lambda v: v >= 0, 'at least 0'),
  'width': (lambda v: v >= 1, 'at least 1'),
  'input_channels': (lambda v: v >= 0, 'at least 0'),
  'head_width': (lambda v: v >= 1, 'at least 1'),
  'exit_weights': (_are_weights, 'numbers of 0 or more, one above 0'),
  # Beyond 1e30 not even one step stays within float32.
  'learning_rate': (lambda v: 0 < v <= 1e30, 'above 0, at most 1e30'),
  'momentum': (lambda v: 0 <= v < 1, 'from 0 up to, not including, 1'),
  'weight_decay': (lambda v: 0 <= v < math.inf, 'at least 0'),
  'decay': (lambda v: 0 < v <= 1, 'above 0, at most 1'),
  'label_smoothing': (lambda v: 0 <= v < 1, 'from 0 up to, not including, 1'),
  'start': (lambda v: 0 < v <= 1, 'a share above 0, at most 1'),
  'max_share': (lambda v: 0 < v <= 1, 'a share above 0, at most 1'),
  'exit_factors': (_are_factors, 'numbers above 0'),
  'easy_strength': (lambda v: 0 <= v <= 1, 'from 0 to 1'),
  'folds': (lambda v: v >= 2, 'at least 2'),
  'repeats': (lambda v: v >= 1, 'at least 1'),
  'label_noise': (lambda v: 0 <= v < 1, 'a share from 0 up to, not including, 1'),
  'noise_seed': (lambda v: v >= 0, 'a whole number of 0 or more'),
  'distillation.weight': (lambda v: 0 <= v <= 1, 'from 0 to 1'),
  'temperature': (lambda v: 0 < v < math.inf, 'above 0'),
  'growth': (lambda v: 1 <= v < math.inf, 'at least 1'),
  'growth_above': (lambda v: 0 < v <= 1, 'above 0, at most 1'),
  'increase': (lambda v: 1 < v < math.inf, 'above 1'),
  'steps_per_dispatch': (lambda v: v >= 0, 'at least 0'),
  'max_accuracy_drop': (lambda v: 0 <= v <= 1, 'a share of the images, from 0 to 1'),
  'target_macs': (lambda v: 0 <= v < math.inf, 'at least 0'),
  'target_latency_ms': (lambda v: 0 <= v < math.inf, 'at least 0'),
  'batch_sizes': (_are_counts, 'whole numbers from 1 on, each once'),
  'every_seconds': (lambda v: v >= 0, 'at least 0'),
  'keep': (lambda v: v >= 1, 'at least 1'),
}


def _within(name: str, value: Any, test: Callable[[Any], bool], what: str) -> None:
  if not test(value):
    raise UserError(f'{name} is {value!r}; it must be {what}')
