"""The configuration: every field with its default, meaning and unit, and the checks on it.

A file in `configs/` starts from `default()` and changes what its data set wants. Durations are
text with a unit: '300 steps', '20 epochs', or '8%' of the phase (see `durations.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import hashlib
import json
import math
import pathlib
from typing import Any

from ml_collections import ConfigDict

from mecl_jax.durations import to_steps
from mecl_jax.errors import UserError, choose

# Fields that may change between two starts of one run: what it computes does not hang on them (that
# the data are still the same is checked by their fingerprint).
FREE = ('data.data_dir', 'data.arrays', 'data.placement', 'checkpoints.', 'logging.')


def default() -> ConfigDict:
  """The schema: every field there is, each with the value it has unless a config changes it."""
  c = ConfigDict()
  c.seed = 0  # of the initial parameters, the order of the batches and the augmentation
  c.batch_size = 128  # examples per optimiser step, over all devices together
  c.strategy = 'classifier_wise'  # joint | classifier_wise | layer_wise | mixed

  c.data = ConfigDict()
  c.data.name = 'cifar10'  # a TFDS image-classification set, 'name' or 'name/config'
  c.data.data_dir = ''  # folder of prepared TFDS data; '': $TFDS_DATA_DIR or ~/tensorflow_datasets
  c.data.arrays = ''  # .npz with {train,test}_{images,labels}, read instead of TFDS
  c.data.label = 'label'  # which label of the set to learn ('coarse_label' in CIFAR-100)
  c.data.train_split = 'train'  # names of the splits in TFDS
  c.data.test_split = 'test'
  c.data.validation_size = 5000  # examples cut from the training split, balanced by class
  c.data.split_seed = 0  # of that cut; apart from `seed`, so that runs to compare share the cut
  c.data.placement = 'auto'  # device: whole set on the accelerator | host: streamed | auto: by size

  c.augment = ConfigDict()  # on the device, training images only
  c.augment.crop = 4  # pixels of padding before the random crop; 0: none
  c.augment.flip = True  # mirror left to right, half of the time
  c.augment.cutout = 0  # pixels on a side of the erased square; 0: none

  c.model = ConfigDict()
  c.model.backbone = 'resnet20'  # resnet8 | 14 | 20 | 32 | 44 | 56 | 110
  c.model.width = 16  # channels of the backbone's first stage
  c.model.input_channels = 0  # channels that the backbone takes; 0: as many as the images have
  c.model.exits = ('stage1', 'stage2')  # early exits: stage names, or shares of the backbone's MACs
  c.model.head = 'conv'  # linear | conv
  c.model.head_width = 64  # channels inside a conv head
  c.model.dtype = 'float32'  # of the computation: float32 | bfloat16 | float64 (parameters too)

  c.exit_weights = (1.0,)  # of the exits' losses, earliest first, 'final' last; one: for every exit
  c.cache_features = True  # classifier_wise: heads learn on features computed once, unaugmented

  c.phases = ConfigDict()
  c.phases.backbone = _phase('160 epochs')  # backbone and final exit (classifier_wise, mixed)
  c.phases.heads = _phase('30 epochs')  # early exits on a frozen backbone (classifier_wise)
  c.phases.heads.optimizer = 'adam'
  c.phases.heads.learning_rate = 0.01
  c.phases.heads.weight_decay = 0.0
  c.phases.joint = _phase('160 epochs')  # all at once (joint, mixed) or in turn (layer_wise)

  c.curriculum = ConfigDict()
  c.curriculum.order = 'easy_first'  # easy_first | anti | random | none (all data from the start)
  c.curriculum.class_balanced = True  # every visible prefix holds the classes in equal shares
  c.curriculum.pacing = 'fixed_exponential'  # how the visible share grows with the step
  c.curriculum.start = 0.04  # share that is visible at first
  c.curriculum.increase = 1.9  # factor by which the share grows, every `step_length`
  c.curriculum.step_length = '8%'  # duration between two growths
  c.curriculum.teacher = 'final_exit'  # final_exit | self_taught | checkpoint | file
  c.curriculum.teacher_workdir = ''  # work directory of the run that scores (teacher=checkpoint)
  c.curriculum.difficulty_file = ''  # a difficulty.npz, joined by example id (teacher=file)

  c.steps_per_dispatch = 0  # optimiser steps per call to the device; 0: 1 on a CPU, 16 elsewhere

  c.checkpoints = ConfigDict()
  c.checkpoints.every_seconds = 60.0  # between two saves
  c.checkpoints.keep = 2  # newest ones kept

  c.logging = ConfigDict()
  c.logging.every = '50 steps'  # between two lines of metrics.jsonl
  c.logging.validate_every = '10%'  # between two passes over the validation split; '0 steps': none
  return c.lock()


def _phase(duration: str) -> ConfigDict:
  p = ConfigDict()
  p.duration = duration
  p.optimizer = 'sgd'  # sgd (momentum) | adam | adamw
  p.learning_rate = 0.1  # the highest of the schedule, per optimiser step
  p.momentum = 0.9  # sgd
  p.nesterov = True  # sgd
  p.weight_decay = 5e-4  # of kernels only; added to the gradient (sgd, adam) or decoupled (adamw)
  p.schedule = 'cosine'  # constant | cosine | one_cycle | step
  p.warmup = '2%'  # linear, from 0 (constant, cosine, step); rise of one_cycle
  p.milestones = ('50%', '75%')  # step: where the rate is multiplied by `decay`
  p.decay = 0.1
  p.label_smoothing = 0.0  # share of the target spread evenly over all classes
  return p


def flatten(config: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """Yields ('model.exits', value) for every field, lists as tuples (JSON has no tuples)."""
  for key, value in config.items():
    if isinstance(value, Mapping | ConfigDict):
      yield from flatten(value, f'{prefix}{key}.')
    else:
      yield prefix + key, tuple(value) if isinstance(value, list) else value


def read(path: pathlib.Path) -> ConfigDict:
  """Reads the config.json of a run; fields that it does not have yet get their default.

  Raises:
    UserError: the file is no configuration, or has a field that does not exist.
  """
  config = default()
  try:
    for field, value in flatten(json.loads(path.read_text())):
      config.update_from_flattened_dict({field: value})
  except FileNotFoundError:
    raise UserError(f'{path.parent} holds no run: there is no {path.name} in it') from None
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise UserError(f'{path} is no configuration of this program: {error}') from None
  return config


def differences(ours: ConfigDict, theirs: ConfigDict) -> list[str]:
  """Names the fields (with both values) in which two configurations would compute other things."""
  mine, other = dict(flatten(ours)), dict(flatten(theirs))
  return [
    f'{field} is {mine[field]!r}, was {other[field]!r}'
    for field in mine
    if mine[field] != other[field] and not field.startswith(FREE)
  ]


def digest(config: ConfigDict, *more: str) -> str:
  """16 hex digits that change with any field that changes what a run computes, or with `more`."""
  fields = [item for item in sorted(flatten(config)) if not item[0].startswith(FREE)]
  return hashlib.sha256(repr((fields, more)).encode()).hexdigest()[:16]


def with_free_fields(config: ConfigDict, other: ConfigDict) -> ConfigDict:
  """`config` with the fields that may change between two starts taken from `other`."""
  result = config.copy_and_resolve_references()
  free = {name: value for name, value in flatten(other) if name.startswith(FREE)}
  result.update_from_flattened_dict(free)
  return result


def resolve(config: ConfigDict) -> ConfigDict:
  """Checks a configuration and returns it as it will run and be stored.

  Lists given as 'stage1,0.5' become tuples, and a teacher that the strategy cannot have (the final
  exit of a backbone that is never trained alone) becomes a plain run made first.

  Raises:
    UserError: a misspelt choice or an impossible value; the message names the valid ones.
  """
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.model.exits = _items(config.model.exits)
    config.exit_weights = _items(config.exit_weights)
    if config.strategy in ('joint', 'layer_wise') and config.curriculum.teacher == 'final_exit':
      config.curriculum.teacher = 'self_taught'
  check(config)
  return config.lock()


def _items(values: Any) -> tuple[str | float, ...]:
  """('stage1,0.5',) from the command line as ('stage1', 0.5)."""
  values = values if isinstance(values, list | tuple) else (values,)
  parts = [part.strip() for value in values for part in str(value).strip('()[] ').split(',')]
  return tuple(_number(part.strip('\'" ')) for part in parts if part)


def _number(text: str) -> str | float:
  try:
    return float(text)
  except ValueError:
    return text


def check(config: ConfigDict) -> None:
  """Raises UserError for the first value that cannot work, before anything is loaded."""
  # Here, so that a config file can be read without waiting for JAX.
  from mecl_jax import curriculum, models
  from mecl_jax.training import optimizers, strategies

  fields = dict(flatten(config))
  choices = {
    'strategy': strategies.STRATEGIES,
    'data.placement': ('auto', 'device', 'host'),
    'model.backbone': models.BACKBONES,
    'model.head': models.HEADS,
    'model.dtype': models.DTYPES,
    'curriculum.order': curriculum.ORDERS,
    'curriculum.pacing': curriculum.PACINGS,
    'curriculum.teacher': curriculum.TEACHERS,
  }
  for phase in config.phases:
    choices[f'phases.{phase}.optimizer'] = optimizers.OPTIMIZERS
    choices[f'phases.{phase}.schedule'] = optimizers.SCHEDULES
  for field, valid in choices.items():
    choose(field, fields[field], valid)
  for field, valid_range in _RANGES.items():
    for name in (n for n in fields if n == field or n.endswith('.' + field)):
      _within(name, fields[name], *valid_range)
  for name in (n for n in fields if n.rpartition('.')[2] in _DURATIONS):
    for text in fields[name] if isinstance(fields[name], tuple) else (fields[name],):
      # Long enough that only a duration of 0 has no step.
      long = 10**9
      share_makes_sense = not name.endswith('.duration')
      steps = to_steps(text, epoch=long, phase=long if share_makes_sense else None, field=name)
      if not steps and name.endswith(('.duration', '.step_length')):
        raise UserError(f'{name} is {text!r}; it must be above 0')
  for teacher, field in (('checkpoint', 'teacher_workdir'), ('file', 'difficulty_file')):
    if config.curriculum.teacher == teacher and not config.curriculum[field]:
      raise UserError(f'curriculum.teacher={teacher} needs curriculum.{field}')


_DURATIONS = ('duration', 'warmup', 'milestones', 'step_length', 'every', 'validate_every')


def _are_weights(values: Any) -> bool:
  numbers = all(isinstance(v, float) and 0 <= v < math.inf for v in values)
  return numbers and sum(values) > 0


# field (anywhere in the tree): (test, what it must be)
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
  'seed': (lambda v: 0 <= v < 2**32, 'a whole number from 0 to 2^32 - 1'),
  'batch_size': (lambda v: v >= 1, 'at least 1'),
  'validation_size': (lambda v: v >= 1, 'at least 1'),
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
  'increase': (lambda v: 1 < v < math.inf, 'above 1'),
  'steps_per_dispatch': (lambda v: v >= 0, 'at least 0'),
  'every_seconds': (lambda v: v >= 0, 'at least 0'),
  'keep': (lambda v: v >= 1, 'at least 1'),
}


def _within(name: str, value: Any, test: Callable[[Any], bool], what: str) -> None:
  if not test(value):
    raise UserError(f'{name} is {value!r}; it must be {what}')


def unknown_field(argv: Sequence[str]) -> str | None:
  """Finds the first --config.FIELD on a command line that does not exist; says what does.

  Args:
    argv: the command line.
  """
  for argument in argv:
    path, _, _ = argument.lstrip('-').partition('=')
    if not path.startswith('config.'):
      continue
    node, names = default(), path.split('.')[1:]
    for depth, name in enumerate(names):
      if not isinstance(node, ConfigDict) or name not in node:
        place = '.'.join(['config', *names[:depth]])
        valid = ', '.join(node) if isinstance(node, ConfigDict) else 'no fields'
        return f'there is no field {path}; {place} has: {valid}'
      node = node[name]
  return None


def check_variant(variant: str, variants: Sequence[str]) -> None:
  """Checks what stands after the colon in --config=FILE:VARIANT; '' is the plain configuration."""
  if variant:
    choose('the variant after the colon of --config', variant, variants or ('none',))


def make_small(config: ConfigDict) -> None:
  """Turns a recipe for an accelerator into one that a laptop ends within minutes, in place."""
  config.model.backbone = 'resnet8'
  config.phases.backbone.duration = config.phases.joint.duration = '2 epochs'
  config.phases.heads.duration = '2 epochs'
  config.logging.validate_every = '25%'
  for phase in config.phases.values():
    phase.warmup = '10%'
