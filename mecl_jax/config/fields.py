"""Every field of the configuration, once: default, valid values, and meaning with its unit.

The defaults, the checks, the messages and `docs/configuration.md` come from here. Durations are
text with a unit: '300 steps', '20 epochs', or '8%' of the phase (see `durations.py`).
"""

from mecl_jax.config.data_fields import DATA, LAST_SEED
from mecl_jax.config.field import Field, Group
from mecl_jax.config.training_fields import CURRICULUM, DISTILLATION, PHASES
from mecl_jax.config.valid import (
  ABOVE_0,
  FROM_0_TO_1,
  NOT_NEGATIVE,
  SECONDS,
  counts,
  duration,
  flag,
  free,
  items,
  name_in,
  number,
  numbers,
  one_of,
  path,
  whole,
)
from mecl_jax.errors import OWN_BACKBONE

LARGEST = 2**31 - 1  # of a count of images: an index of an array in XLA

_AUGMENT = Group(
  'Augmentation of the training images, on the device.',
  {
    'crop': Field(4, whole(0, 4096), 'pixels of padding before the random crop; 0: none'),
    'flip': Field(True, flag(), 'mirror left to right with probability 1/2'),
    'flip_alternates': Field(
      False,
      flag(),
      'with `flip`: an image that is mirrored in one pass over the visible images is not mirrored'
      ' in the next; the first is random',
    ),
    'cutout': Field(0, whole(0, 4096), 'side of the erased square in pixels; 0: none'),
    'copies': Field(
      0,
      whole(0, 1000),
      'with `cache_features`: augmented copies of every training image, whose features are computed'
      ' once; each pass over the visible images uses the next; 0: features are not augmented',
    ),
  },
)

_MODEL = Group(
  'The network.',
  {
    'backbone': Field(
      'resnet20',
      name_in('backbones', 'networks.md', OWN_BACKBONE),
      'backbone, or `my_module:make_network`, see [own_network.md](own_network.md)',
    ),
    'stem': Field(
      'auto',
      one_of('auto', 'cifar', 'imagenet'),
      'first layers: for small or large images; `auto`: as published',
    ),
    'width': Field(16, whole(1, 4096), 'channels of the backbone: 16 as published, 8 half as many'),
    'input_channels': Field(
      0, whole(0, 4096), 'channels that the backbone takes; 0: as many as the images have'
    ),
    'exits': Field(
      ('stage1', 'stage2'),
      items('stage names, shares of MACs, `every N`, `groups`'),
      'places of the early exits; `stage1=vit` gives one exit a head of its own',
    ),
    'head': Field('conv', name_in('heads', 'networks.md'), 'kind of the early exit heads'),
    'head_width': Field(64, whole(1, 65536), 'channels inside a head'),
    'pretrained': Field(
      '',
      path('`imagenet`, a .weights.h5 or .safetensors file, a work directory'),
      'initial weights; empty: random',
    ),
    'pretrained_skip': Field(
      'heads.*',
      free("'PATTERN,PATTERN'"),
      'parameters that the initial weights may lack, or have in another shape',
    ),
    'frozen': Field(
      False,
      flag(),
      'whether the stages keep their pretrained weights, so that only heads train, the final one'
      ' too',
    ),
    'preprocessing': Field(
      'auto',
      one_of('auto', 'dataset', 'caffe', 'tf', 'torch', 'run'),
      'normalisation of pixels: `dataset`: by the training images; `run`: as `model.pretrained`;'
      ' `auto`: as the weights need',
    ),
    'dtype': Field(
      'float32',
      one_of('float32', 'bfloat16', 'float64'),
      'type of the computation; parameters stay float32, except with `float64`',
    ),
    'remat': Field(
      False,
      flag(),
      'whether the backward pass computes every stage again instead of keeping what is inside of'
      ' it: less memory, more time',
    ),
  },
)


_CHECKPOINTS = Group(
  'Checkpoints.',
  {
    'every_seconds': Field(60.0, SECONDS, 'seconds between two saves; inf: only after each phase'),
    'keep': Field(2, whole(1, 10**6), 'newest checkpoints that are kept'),
  },
)

_LOGGING = Group(
  'Logging.',
  {
    'every': Field('50 steps', duration(), 'between two lines of `metrics.jsonl`'),
    'validate_every': Field(
      '10%', duration(), 'between two passes over the validation split; `0 steps`: none'
    ),
  },
)

_EVALUATION = Group(
  'The operating point of early exit, chosen on the validation split, and latencies.',
  {
    'max_accuracy_drop': Field(
      0.005,
      number('a share of the images, from 0 to 1', lambda v: 0 <= v <= 1),
      'target: the cheapest policy that loses at most this accuracy against the final exit',
    ),
    'max_error_rise': Field(
      0.02,
      NOT_NEGATIVE,
      'target of `regression`: the cheapest policy whose mean error is at most this share above'
      ' that of the final exit',
    ),
    'target_macs': Field(
      0.0,
      NOT_NEGATIVE,
      'target: the most accurate policy with at most this many MACs per image; 0: unused',
    ),
    'target_latency_ms': Field(
      0.0,
      NOT_NEGATIVE,
      'target: the most accurate policy with at most this many milliseconds per image, as measured;'
      ' 0: unused',
    ),
    'policy_file': Field('', path('a policy.json'), 'policy to use instead of choosing one'),
    'latency_file': Field(
      '', path('a latency.json'), 'latencies of another device; empty: those of the work directory'
    ),
    'deadlines_file': Field(
      '', path('a CSV file'), 'deadlines in milliseconds, one per line, to evaluate at'
    ),
    'batch_sizes': Field(
      (1, 16, 64, 256), counts(10**6), 'batch sizes that `--mode=latency` measures'
    ),
  },
)

_EXPORT = Group(
  'What `--mode=export` writes, see [deploy.md](deploy.md).',
  {
    'quantise': Field(
      'none',
      one_of('none', 'float16', 'int8'),
      'smaller numbers: `float16`, or `int8` with ranges from validation images',
    ),
    'calibration_images': Field(
      512, whole(1, 10**6), '`int8`: validation images from which the ranges come'
    ),
    'points': Field(
      'accurate=0, balanced=0.005, fast=0.02',
      free("'NAME=LOSS, NAME=COST MACs'"),
      'operating points: each may lose at most this validation accuracy against the final exit, or'
      ' take at most this many MACs per image',
    ),
    'bottlenecks': Field(
      (),
      counts(10**4, none=True),
      'channels of learned bottlenecks behind each exit, which are sent to a server instead of'
      ' feature maps: a byte for each channel and each patch of 2x2 positions (each position of'
      ' tokens, and of maps with odd sides); `()`: none',
    ),
    'bottleneck_duration': Field(
      '2 epochs', duration(share=False), 'training of each bottleneck; the network stays as it is'
    ),
  },
)

_ENERGY = Group(
  'What `--mode=energy` simulates, in the unit of the costs, see [deploy.md](deploy.md).',
  {
    'costs': Field(
      '',
      path('a CSV file'),
      'cost of every segment, with the heading `exit,cost_mJ`; empty: measured ms, times `watts`',
    ),
    'watts': Field(1.0, ABOVE_0, 'power of the device, which makes mJ of times in ms'),
    'capacity': Field(
      0.0, NOT_NEGATIVE, 'most that the store holds; 0: 24 answers of the last exit'
    ),
    'start': Field(0.5, FROM_0_TO_1, 'share of the capacity that the store holds at the start'),
    'wake': Field(0.0, NOT_NEGATIVE, 'cost of an answer besides its segments'),
    'income': Field(
      '', path('a CSV file'), 'income of each interval, one per line; empty: made-up days of light'
    ),
    'intervals': Field(
      0,
      whole(0, 10**5),
      'number of intervals, with an image each; 0: those of `income`, or seven made-up days of 96',
    ),
    'budgets': Field(
      '', path('a CSV file'), 'budget of each image, one per line; empty: budgets are not simulated'
    ),
  },
)

_OFFLOAD = Group(
  'The split that `--mode=offload` simulates and measures, see [deploy.md](deploy.md).',
  {
    'bandwidth': Field(10.0, ABOVE_0, 'of the link in each direction, Mbit/s'),
    'round_trip': Field(20.0, NOT_NEGATIVE, 'of the link, ms'),
    'device_slowdown': Field(
      10.0,
      number('at least 1, finite', lambda v: v >= 1),
      'times of the device, as a multiple of those measured here; the server is as fast as here',
    ),
    'threads': Field(1, whole(1, 1024), 'processor threads of a segment, on both sides'),
    'request_ms': Field(
      0.0,
      NOT_NEGATIVE,
      'what a request takes beside link and segments, ms; 0: measured, by a server on this machine',
    ),
    'send_as': Field(
      'float16', one_of('float16', 'int8'), 'precision of the feature maps that are sent'
    ),
    'deadline': Field(100.0, ABOVE_0, 'of an answer, ms; kept by the policy `deadline`'),
    'compute_watts': Field(5.0, NOT_NEGATIVE, 'power of the device while it computes, W'),
    'send_watts': Field(1.5, NOT_NEGATIVE, 'power of the device while it sends, W'),
    'wait_watts': Field(0.5, NOT_NEGATIVE, 'power of the device while it waits for an answer, W'),
    'target': Field(
      'accuracy',
      free("'accuracy', 'latency<=20ms', 'p95<=20ms', 'energy<=5mJ' or 'bytes<=1000'"),
      'the most accurate policy is chosen, within this limit of an image on validation',
    ),
    'images': Field(1000, whole(1, 10**6), 'images of each split that are simulated, at most'),
    'real_images': Field(
      100,
      whole(0, 10**6),
      'test images, at most, that two processes answer by each policy; 0: only simulate',
    ),
  },
)

_REPORT = Group(
  'The report.',
  {
    'page': Field(
      True, flag(), 'whether `report/index.html`, its tables and the policy are written'
    ),
    'compare_with': Field(
      '', free("'DIR,FILE'"), 'runs or difficulty files to compare the difficulty scores with'
    ),
  },
)

FIELDS = Group(
  'The run as a whole',
  {
    'seed': Field(
      0, whole(0, LAST_SEED), 'seed of the initial parameters, the batches and the augmentation'
    ),
    'task': Field('classification', name_in('tasks', 'tasks.md'), 'what the exits predict'),
    'huber_delta': Field(
      1.0, ABOVE_0, '`regression`: error, in deviations of the targets, where the loss turns linear'
    ),
    'batch_size': Field(
      128, whole(1, 10**6), 'images per optimiser step, over all devices together'
    ),
    'strategy': Field(
      'classifier_wise',
      one_of('joint', 'classifier_wise', 'layer_wise', 'mixed'),
      'which parts train in which order',
    ),
    'data': DATA,
    'augment': _AUGMENT,
    'model': _MODEL,
    'exit_weights': Field(
      (1.0,),
      numbers(
        'numbers of 0 or more, one above 0', lambda v: min(v, default=-1) >= 0 and sum(v) > 0
      ),
      'weights of the losses of the exits, earliest first; one: for every exit',
    ),
    'exit_schedule': Field(
      'constant',
      one_of('constant', 'shallow_first', 'deep_first'),
      'how the weights of the losses move between early and late exits over a phase (`joint`,'
      ' `mixed`)',
    ),
    'gradients': Field(
      'sum',
      one_of('sum', 'equilibrium', 'partition', 'pcgrad', 'cagrad'),
      'how the exits share the gradient of the backbone (`joint`, `mixed`), see'
      ' [curriculum.md](curriculum.md)',
    ),
    'cagrad_radius': Field(
      0.4,
      number('from 0 up to, not including, 1', lambda v: 0 <= v < 1),
      '`cagrad`: c of the paper',
    ),
    'cache_features': Field(
      True,
      flag(),
      'heads on a frozen backbone (`classifier_wise`, `model.frozen`) learn on features computed'
      ' once, not augmented unless `augment.copies`',
    ),
    'feature_files_gb': Field(
      8.0,
      NOT_NEGATIVE,
      'GB on disk for features of frozen backbones, which runs share; 0: none are kept',
    ),
    'phases': PHASES,
    'curriculum': CURRICULUM,
    'distillation': DISTILLATION,
    'steps_per_dispatch': Field(
      0, whole(0, 10**4), 'optimiser steps per call to the device; 0: 1 on a CPU, else 8 to 16'
    ),
    'checkpoints': _CHECKPOINTS,
    'logging': _LOGGING,
    'evaluation': _EVALUATION,
    'export': _EXPORT,
    'energy': _ENERGY,
    'offload': _OFFLOAD,
    'report': _REPORT,
  },
)

# Fields and groups that may change between two starts of a run: the result does not depend on them
# (a fingerprint checks that the data are still the same).
MUTABLE_FIELDS = (
  *('feature_files_gb', 'data.data_dir', 'data.arrays', 'data.folder'),
  *('data.placement', 'data.train_labels'),
  *('checkpoints.', 'logging.', 'evaluation.', 'export.', 'energy.', 'offload.', 'report.'),
)
