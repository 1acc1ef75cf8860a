"""The configuration: every field with its default, meaning and unit.

A file in `configs/` starts from `default()` and changes what its data set wants. Durations are
text with a unit: '300 steps', '20 epochs', or '8%' of the phase (see `durations.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
import hashlib
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from mecl_jax.errors import UserError, choose

# Fields that may change between two starts of one run: what it computes does not hang on them (that
# the data are still the same is checked by their fingerprint).
FREE = (
  *('data.data_dir', 'data.arrays', 'data.placement'),
  *('checkpoints.', 'logging.', 'evaluation.', 'report.'),
)


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
  c.data.label_noise = 0.0  # share of the training labels flipped on purpose, evenly over classes
  c.data.noise_seed = 0  # which ones; apart from `seed`, so that runs to compare share them
  c.data.image_size = 0  # pixels on a side that images are resized to on the device, after being
  # augmented; 0: as they are
  c.data.placement = 'auto'  # device: whole set on the accelerator | host: streamed | auto: by size

  c.augment = ConfigDict()  # on the device, training images only
  c.augment.crop = 4  # pixels of padding before the random crop; 0: none
  c.augment.flip = True  # mirror left to right, half of the time
  c.augment.cutout = 0  # pixels on a side of the erased square; 0: none

  c.model = ConfigDict()
  c.model.backbone = 'resnet20'  # a name in models/registry.py; a wrong one lists them all
  c.model.stem = 'auto'  # cifar: keeps small images large | imagenet | auto: the backbone's own
  c.model.width = 16  # 16: the published channels; 8: half as many everywhere
  c.model.input_channels = 0  # channels that the backbone takes; 0: as many as the images have
  c.model.exits = ('stage1', 'stage2')  # stage names, shares of the backbone's MACs, 'every 3'
  # stages, or 'groups' of stages; 'stage1=vit' has a head of its own
  c.model.head = 'conv'  # linear | conv | mlp | mixed_pool | msdnet | separable | vit | mixer;
  # cascade_linear, cascade_conv, ..: the same, seeing also what the exit before it says
  c.model.head_width = 64  # channels inside a head
  c.model.pretrained = ''  # weights to begin with: 'imagenet' (fetched by Keras) | a .weights.h5 or
  # .safetensors file | the work directory of another run | '': fresh ones
  c.model.pretrained_skip = 'heads.*'  # 'PATTERN,PATTERN' of names that may be missing there, left
  # over, or of another shape; the network's own stay fresh then
  c.model.preprocessing = 'auto'  # of pixels: dataset (mean and deviation of the training images) |
  # caffe | tf | torch | run (as that other run) | auto: what the weights want, without any dataset
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

  c.curriculum = _curriculum()

  c.distillation = ConfigDict()  # of the final exit into the earlier ones, beside the labels
  c.distillation.weight = 0.0  # C of the loss (1 - C) label + C T^2 distillation; 0: none
  c.distillation.temperature = 1.0  # T at first
  c.distillation.growth = 1.05  # factor of T after a batch of a final exit that is surer than ..
  c.distillation.growth_above = 0.5  # .. this mean of its highest probabilities at T

  c.steps_per_dispatch = 0  # optimiser steps per call to the device; 0: 1 on a CPU, else 8 to 16

  c.checkpoints = ConfigDict()
  c.checkpoints.every_seconds = 60.0  # between two saves
  c.checkpoints.keep = 2  # newest ones kept

  c.logging = ConfigDict()
  c.logging.every = '50 steps'  # between two lines of metrics.jsonl
  c.logging.validate_every = '10%'  # between two passes over the validation split; '0 steps': none

  c.evaluation = ConfigDict()  # how images leave early, as chosen on the validation split:
  c.evaluation.max_accuracy_drop = 0.005  # the cheapest way that is right on a share of the images
  # no further below the final exit's; or, instead of that wish, the most accurate way within ..
  c.evaluation.target_macs = 0.0  # .. so many MACs per image, on average; 0: no such wish
  c.evaluation.target_latency_ms = 0.0  # .. so many milliseconds, as measured; 0: no such wish
  c.evaluation.policy_file = ''  # policy.json of an earlier evaluation, to leave as it says
  c.evaluation.latency_file = ''  # latency.json of another device; '': the work directory's own
  c.evaluation.deadlines_file = ''  # CSV of deadlines in milliseconds, one a line, to be judged by
  c.evaluation.batch_sizes = (1, 16, 64, 256)  # that --mode=latency measures

  c.report = ConfigDict()
  c.report.page = True  # report/index.html and its tables; False: summary and predictions alone
  c.report.compare_with = ''  # 'DIR,FILE': runs or difficulty files to compare the scores with
  return c.lock()


def _curriculum() -> ConfigDict:
  c = ConfigDict()
  c.order = 'easy_first'  # easy_first | anti | random | none (all data from the start)
  c.class_balanced = True  # every visible prefix holds the classes in equal shares
  c.max_share = 1.0  # of the order that is ever shown; 0.9 never shows its last tenth

  c.pacing = 'fixed_exponential'  # how the visible share grows with the step:
  # fixed_exponential | varied_exponential | single_step (Hacohen and Weinshall 2019)
  # log | exp | step | root | linear | quadratic (Wu et al. 2021: b is start, a is full_after)
  # constant (`start` at every step)
  c.start = 0.04  # share that is visible at first
  c.increase = 1.9  # factor by which the share grows (fixed_exponential, varied_exponential)
  c.step_length = '8%'  # duration of each share (fixed_exponential), of the first (single_step)
  c.boundaries = '8%,16%,24%,32%,40%,48%'  # where the share grows (varied_exponential)
  c.full_after = '50%'  # duration after which everything is visible (log .. quadratic)

  c.per_exit = 'shared'  # shared: all exits see the same | scaled: see exit_factors | own: ..
  c.exit_factors = (1.0,)  # scaled: of the visible share, per exit, 'final' last; one: for all
  c.exit_pacings = ''  # own: per exit, 'final' last, as 'root full_after=90%, constant start=1'
  c.sample_weights = 'none'  # survivors: what earlier exits are unsure of | easy_weighted | none
  c.easy_strength = 0.8  # easy_weighted: weights of the first exit go from 1 - this to 1 + this

  c.teacher = 'final_exit'  # of the run's own backbone | self_taught: of a plain run made first |
  # checkpoint: of another run | transfer: a classifier on a network's features | cross_validated |
  # learning_speed | prediction_depth | file
  c.measure = 'auto'  # confidence | loss | margin | entropy; learning_speed: learned_epoch |
  # cumulative_errors; auto: what the teacher's paper takes
  c.teacher_workdir = ''  # run that scores (checkpoint), or may (transfer, prediction_depth)
  c.teacher_exit = 'final'  # exit of that run that scores (checkpoint)
  c.difficulty_file = ''  # .npz, .csv or .parquet with id and score, larger is harder (file)
  c.classifier = 'auto'  # svc | logistic_regression; auto: svc up to 10,000 examples (transfer)
  c.folds = 4  # parts of the training split, each scored by training on the rest (cross_validated)
  c.repeats = 10  # times that the split is cut anew; the scores are averaged (cross_validated)
  return c


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

  Lists given as 'stage1,0.5' become tuples, a teacher that the strategy cannot have (the final
  exit of a backbone that is never trained alone) becomes a plain run made first, and 'auto' becomes
  the teacher's own measure and the preprocessing that the weights want.

  Raises:
    UserError: a misspelt choice or an impossible value; the message names the valid ones.
  """
  # Here, so that a config file can be read without waiting for JAX.
  from mecl_jax.commands import config_check
  from mecl_jax.teachers import scoring as teachers
  from mecl_jax.training import initial_weights as weights

  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.model.exits = _items(config.model.exits)
    config.exit_weights = _items(config.exit_weights)
    curriculum = config.curriculum
    curriculum.exit_factors = _items(curriculum.exit_factors)
    if config.strategy in ('joint', 'layer_wise') and curriculum.teacher == 'final_exit':
      curriculum.teacher = 'self_taught'
    if curriculum.measure == 'auto' and curriculum.teacher in teachers.MEASURES_OF:
      curriculum.measure = teachers.MEASURES_OF[curriculum.teacher][0]
    if config.model.preprocessing == 'auto':
      config.model.preprocessing = weights.preprocessing(config.model)
  config_check.check(config)
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


def make_recommended(config: ConfigDict) -> None:
  """Turns the curriculum of the paper into the one that docs/results.md found best, in place.

  No example is held back; the easy ones count more, the earlier the exit. (The defaults
  stay the paper's: configurations of earlier runs rely on them.)
  """
  config.curriculum.order = 'none'
  config.curriculum.sample_weights = 'easy_weighted'
  config.curriculum.easy_strength = 0.4


def make_small(config: ConfigDict) -> None:
  """Turns a recipe for an accelerator into one that a laptop ends within minutes, in place."""
  config.model.backbone = 'resnet8'
  config.phases.backbone.duration = config.phases.joint.duration = '2 epochs'
  config.phases.heads.duration = '2 epochs'
  config.logging.validate_every = '25%'
  for phase in config.phases.values():
    phase.warmup = '10%'
