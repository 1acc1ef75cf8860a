"""The fields of training: phases, curriculum, distillation."""

import dataclasses
from typing import Any

from mecl_jax.config.field import Field, Group
from mecl_jax.config.valid import (
  ABOVE_0,
  BELOW_1,
  FROM_0_TO_1,
  NOT_NEGATIVE,
  SHARE,
  duration,
  durations,
  flag,
  free,
  name_in,
  number,
  number_or_numbers_or,
  numbers,
  one_of,
  path,
  whole,
)


def _phase(meaning: str, duration_: str, *, zero: bool = False, **defaults: Any) -> Group:
  """Returns the group of a phase; `defaults` replace those of its fields."""
  fields = {
    'duration': Field(duration_, duration(share=False, zero=zero), 'length of the phase'),
    'optimizer': Field(
      'sgd',
      one_of('sgd', 'adam', 'adamw', 'muon'),
      'optimiser; `sgd` has momentum; `muon` trains kernels before the last layer, `adam` the rest',
    ),
    'learning_rate': Field(
      0.1,
      # Beyond 1e30 not even one step stays within float32.
      number_or_numbers_or('auto', 'above 0, at most 1e30', lambda v: 0 < v <= 1e30),
      'highest learning rate of the schedule; where only heads train, it may be one value per exit,'
      ' earliest first, or `auto`, see [the rates of exits](curriculum.md#the-rates-of-exits)',
      any_type=True,
    ),
    'candidate_rates': Field(
      (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
      numbers(
        'several numbers above 0, at most 1e30, each once',
        lambda v: len(v) > 1 and 0 < min(v) <= max(v) <= 1e30 and len(set(v)) == len(v),
      ),
      'learning rates that `learning_rate=auto` chooses from',
    ),
    'head_rates': Field(
      (1.0,),
      numbers('numbers above 0', lambda v: bool(v) and min(v) > 0),
      'factors of the learning rate for the heads of the exits of the phase: one value per exit,'
      ' earliest first, or one for all',
    ),
    'momentum': Field(0.9, BELOW_1, 'momentum of `sgd` and `muon`'),
    'nesterov': Field(True, flag(), "whether the momentum of `sgd` or `muon` is Nesterov's"),
    'weight_decay': Field(
      5e-4,
      NOT_NEGATIVE,
      'of kernels only; added to the gradient, or decoupled with `adamw` and `muon`',
    ),
    'bias_rate': Field(
      1.0,
      ABOVE_0,
      'factor of the learning rate for biases without a trained kernel, as those of batch and layer'
      ' norm; with `muon` for all that `adam` trains',
    ),
    'schedule': Field(
      'cosine',
      one_of('constant', 'cosine', 'linear', 'one_cycle', 'step'),
      'learning-rate schedule',
    ),
    'warmup': Field('2%', duration(), 'linear rise of the learning rate from 0'),
    'milestones': Field(
      ('50%', '75%'),
      durations(),
      '`step`: when the rate is multiplied by `decay`; not before the end of the warm-up',
    ),
    'decay': Field(
      0.1, number('above 0, at most 1', lambda v: 0 < v <= 1), '`step`: factor at milestones'
    ),
    'lookahead': Field(
      0, whole(0, 10**8), 'steps after which weights are pulled back to slow weights; 0: never'
    ),
    'lookahead_share': Field(
      0.77, BELOW_1, '`lookahead`: share of the slow weights, at the end of the phase'
    ),
    'label_smoothing': Field(0.0, BELOW_1, 'share of the target spread evenly over all classes'),
  }
  changed: dict[str, Field | Group] = {
    name: dataclasses.replace(field, default=defaults.get(name, field.default))
    for name, field in fields.items()
  }
  return Group(meaning, changed)


PHASES = Group(
  'The phases of training; which of them a run has is up to `strategy`.',
  {
    'backbone': _phase(
      'The backbone with its final exit (`classifier_wise`, `mixed`); `0 steps` with'
      ' `model.pretrained`.',
      '160 epochs',
      zero=True,
    ),
    'heads': _phase(
      'The early exits on the frozen backbone (`classifier_wise`).',
      '30 epochs',
      optimizer='adam',
      learning_rate=0.01,
      weight_decay=0.0,
    ),
    'joint': _phase(
      'All parts at once (`joint`, `mixed`), or one after the other (`layer_wise`).', '160 epochs'
    ),
  },
)

_STRENGTHS = numbers('numbers from -1 to 1', lambda v: all(-1 <= s <= 1 for s in v))

CURRICULUM = Group(
  'Which training images are shown when, and how much they count.',
  {
    'order': Field(
      'easy_first',
      one_of('easy_first', 'anti', 'random', 'none'),
      'ranking of the training images; `none`: all are visible from the start',
    ),
    'class_balanced': Field(True, flag(), 'whether every visible prefix is balanced by class'),
    'max_share': Field(1.0, SHARE, 'share of the ranking that is ever shown'),
    'pacing': Field(
      'fixed_exponential',
      name_in('pacings', 'curriculum.md'),
      'how the visible share grows with the step',
    ),
    'start': Field(0.04, SHARE, 'pacing: share that is visible at first'),
    'increase': Field(
      1.9,
      number('above 1, finite', lambda v: v > 1),
      'pacing: factor by which the share grows (`fixed_exponential`, `varied_exponential`)',
    ),
    'step_length': Field(
      '8%',
      duration(zero=False),
      'pacing: duration of each share (`fixed_exponential`), of the first (`single_step`)',
    ),
    'boundaries': Field(
      '8%,16%,24%,32%,40%,48%',
      durations(),
      'pacing: when the share grows (`varied_exponential`)',
    ),
    'full_after': Field(
      '50%',
      duration(zero=False),
      'pacing: when all is visible (`log`, `exp`, `step`, `root`, `linear`, `quadratic`)',
    ),
    'per_exit': Field(
      'shared',
      one_of('shared', 'scaled', 'own'),
      'pacing of the exits; `shared`: one; `scaled`: times `exit_factors`; `own`: `exit_pacings`',
    ),
    'exit_factors': Field(
      (1.0,),
      numbers('numbers above 0', lambda v: bool(v) and min(v) > 0),
      '`scaled`: factor of the visible share, one per exit, or one for all',
    ),
    'exit_pacings': Field(
      '',
      free("'PACING name=value .., PACING ..'"),
      "`own`: one pacing per exit, as 'root full_after=90%, constant start=1'",
    ),
    'sample_weights': Field(
      'none',
      one_of(
        'none',
        'survivors',
        'easy_weighted',
        'own_confidence',
        'cgt_hard',
        'cgt_soft',
        'l2w_den',
      ),
      'weights in the loss; `survivors`: larger where earlier exits are unsure; `easy_weighted`:'
      ' larger for easy images; `own_confidence`: larger where the exit itself is confident in the'
      ' label; `cgt_hard`, `cgt_soft`: smaller where earlier exits are right; `l2w_den`: learned,'
      ' see [curriculum.md](curriculum.md)',
    ),
    'easy_strength': Field(
      0.8,
      number('from -1 to 1', lambda v: -1 <= v <= 1),
      '`easy_weighted`, `own_confidence`: weights at the first exit go from 1 - s to 1 + s; s falls'
      ' to 0 at the last exit',
    ),
    'exit_strengths': Field(
      (),
      _STRENGTHS,
      's of each exit, earliest first, or one for all, used as it is; empty: `easy_strength`',
    ),
    'easy_end': Field(
      (),
      _STRENGTHS,
      's at the last step of the phase, reached linearly: one number or one per exit; empty: as at'
      ' first; below 0 hard images have larger weights',
    ),
    'confidence_decay': Field(
      0.6,
      BELOW_1,
      '`own_confidence`: share of the earlier value in the moving average of the confidence',
    ),
    'contradicted': Field(
      'keep',
      one_of('keep', 'drop'),
      'training images whose label is not the class that the teacher predicts; `drop`: never shown',
    ),
    'gate_confidence': Field(
      0.9,
      FROM_0_TO_1,
      '`cgt_hard`: probability from which a right exit closes the later ones; `cgt_soft`: middle of'
      ' the sigmoid',
    ),
    'weight_rate': Field(
      1e-4,
      number('above 0, at most 1', lambda v: 0 < v <= 1),
      '`l2w_den`: highest learning rate of the network that predicts the weights',
    ),
    'teacher': Field(
      'final_exit',
      one_of(
        'final_exit',
        'self_taught',
        'checkpoint',
        'transfer',
        'cross_validated',
        'learning_speed',
        'prediction_depth',
        'file',
      ),
      'what scores the training images, see [curriculum.md](curriculum.md)',
    ),
    'measure': Field(
      'auto',
      free('a measure of the teacher'),
      'difficulty measure; `auto`: the one of the paper behind the teacher',
    ),
    'teacher_workdir': Field(
      '', path('a work directory'), 'run that scores (`checkpoint`, `transfer`, `prediction_depth`)'
    ),
    'teacher_exit': Field('final', free('an exit'), '`checkpoint`: exit of that run that scores'),
    'difficulty_file': Field(
      '', path('.npz, .csv or .parquet'), '`file`: columns `id` and `score`, larger is harder'
    ),
    'classifier': Field(
      'auto',
      one_of('auto', 'svc', 'logistic_regression'),
      '`transfer`: classifier on the features; `auto`: `svc` up to 10,000 images',
    ),
    'folds': Field(
      4, whole(2, 1000), '`cross_validated`: parts, each scored by training on the rest'
    ),
    'repeats': Field(10, whole(1, 1000), '`cross_validated`: times that the split is cut anew'),
  },
)

DISTILLATION = Group(
  'Distillation from the final exit into the earlier ones, beside the labels.',
  {
    'weight': Field(0.0, FROM_0_TO_1, 'C of the loss (1 - C) labels + C T^2 distillation; 0: none'),
    'temperature': Field(1.0, ABOVE_0, 'T at the first step'),
    'growth': Field(
      1.05,
      number('at least 1, finite', lambda v: v >= 1),
      'factor of T after a batch whose mean highest probability is above `growth_above`',
    ),
    'growth_above': Field(0.5, number('above 0, at most 1', lambda v: 0 < v <= 1), 'see `growth`'),
    'feature_weight': Field(
      0.0,
      NOT_NEGATIVE,
      'weight of the mean squared distance between features of each early exit and of the final'
      ' exit (`joint`, `mixed`); 0: none',
    ),
  },
)
