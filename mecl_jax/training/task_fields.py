"""The fields of the configuration that only some tasks can have."""

from ml_collections import ConfigDict

from mecl_jax.errors import UserError
from mecl_jax.evaluation.tasks import CLASSIFICATION

# Fields that need classes, with the values that other tasks can have.
_NEED_CLASSES = {
  'data.label_noise': (0.0,),
  'data.train_labels': ('',),
  'curriculum.sample_weights': ('none', 'easy_weighted'),
  'curriculum.contradicted': ('keep',),
  'distillation.weight': (0.0,),
  'distillation.feature_weight': (0.0,),
  **dict.fromkeys(
    (f'phases.{phase}.label_smoothing' for phase in ('backbone', 'heads', 'joint')), (0.0,)
  ),
}
# Commands that work for classification only.
NEED_CLASSES = ('export', 'energy', 'offload', 'compare')


def check(config: ConfigDict) -> None:
  """Checks that a configuration has no field that its task does not support.

  Args:
    config: each field valid by itself.

  Raises:
    UserError: it has one.
  """
  if config.task == CLASSIFICATION.name:
    return
  for field, values in _NEED_CLASSES.items():
    group = config
    *path, name = field.split('.')
    for part in path:
      group = group[part]
    if group[name] not in values:
      raise UserError(
        f'{field}={group[name]} is not possible with task={config.task}; set it to'
        f' {" or ".join(repr(value) for value in values)}, or use task=classification'
      )
  for phase, settings in config.phases.items():
    if isinstance(settings.learning_rate, str):
      raise UserError(
        f'phases.{phase}.learning_rate={settings.learning_rate} is not possible with'
        f' task={config.task}; give a number'
      )


def check_command(config: ConfigDict, mode: str) -> None:
  """Checks that a command supports the task of a run.

  Raises:
    UserError: it does not.
  """
  if mode in NEED_CLASSES and config.task != CLASSIFICATION.name:
    raise UserError(
      f'--mode={mode} is for runs with task=classification; this one has task={config.task}'
    )
