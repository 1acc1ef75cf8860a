"""Resolves configurations: fills in 'auto', and checks fields one by one and against each other."""

from typing import Any

from ml_collections import ConfigDict

from mecl_jax import config as config_lib
from mecl_jax.commands import run_report
from mecl_jax.config.valid import Names
from mecl_jax.curriculum.pacing import PACINGS
from mecl_jax.data import check_places, train_labels
from mecl_jax.data.dataset import validation_count
from mecl_jax.data.known import NAMES as KNOWN
from mecl_jax.data.known import known
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS
from mecl_jax.files import expanded
from mecl_jax.models import BACKBONES, HEADS
from mecl_jax.models.own import factories
from mecl_jax.models.pretrained import default_preprocessing
from mecl_jax.teachers import scoring
from mecl_jax.training import exit_pacings, initial_weights, strategies, task_fields

# Names that fields may hold because another room has them in a registry.
OWN_NAME = 'images'  # of a data set that has no other name
NAMES: Names = {'backbones': BACKBONES, 'heads': HEADS, 'pacings': PACINGS, 'tasks': TASKS}


def _names(config: ConfigDict) -> Names:
  """Returns the valid names, also that of a network of the user."""
  return {**NAMES, 'backbones': factories.names_with(config.model.backbone)}


def resolve(config: ConfigDict, *, given: bool = False) -> ConfigDict:
  """Checks a configuration and returns it as it will run and be stored.

  A command resolves its configuration once, and passes it on resolved. Lists such as 'stage1,0.5'
  become tuples. Strategies without a backbone phase get the teacher 'self_taught' in place of
  'final_exit'. 'auto' becomes the measure of the teacher, and the preprocessing of the weights.
  `curriculum.class_balanced` becomes False where there are no classes. A share of validation images
  becomes their number, if the size of the data set is known. Images of the user's own that have the
  name of a published set, such as the default, get another.

  Args:
    config: to resolve.
    given: whether the program gives the images.

  Raises:
    UserError: a value is not valid; the message says what is.
  """
  config_lib.check_structure(config)
  config = config.copy_and_resolve_references()
  data = config.data
  with config.unlocked(), config.ignore_type():
    config.model.exits = config_lib.parse_items(config.model.exits)
    config.exit_weights = config_lib.parse_items(config.exit_weights)
    for phase in config.phases.values():
      phase.head_rates = config_lib.parse_items(phase.head_rates)
      phase.candidate_rates = config_lib.parse_items(phase.candidate_rates)
      phase.learning_rate = _rates(phase.learning_rate)
    curriculum = config.curriculum
    for name in ('exit_factors', 'exit_strengths', 'easy_end'):
      curriculum[name] = config_lib.parse_items(curriculum[name])
    config_lib.check_fields(config, _names(config))
    if config.strategy in ('joint', 'layer_wise') and curriculum.teacher == 'final_exit':
      curriculum.teacher = 'self_taught'
    measures = scoring.measures_of(config.task, curriculum.teacher)
    if curriculum.measure == 'auto' and measures:
      curriculum.measure = measures[0]
    if config.task != CLASSIFICATION.name:
      curriculum.class_balanced = False  # there are no classes
    if config.model.preprocessing == 'auto':
      model = config.model
      model.preprocessing = default_preprocessing(model.pretrained, model.backbone)
  with config.unlocked(), config.ignore_type():
    if (data.folder or given) and data.name in KNOWN:
      data.name = (data.folder and expanded(data.folder).resolve().name) or OWN_NAME
    facts = known(data.name, data.label, data.train_split, data.test_split)
    if facts and not (data.arrays or data.folder or given):
      data.validation_size = validation_count(data.validation_size, facts.train)
  check_places(data.arrays, data.folder, given=given)
  train_labels.check(data.train_labels, data.validation_labels, data.label_noise)
  task_fields.check(config)
  initial_weights.check(config)
  scoring.check(config)
  strategies.check(config)
  exit_pacings.check(config.curriculum)
  run_report.check_targets(config.evaluation)
  return config.lock()


def _rates(given: Any) -> Any:
  """Returns a learning rate in one form: lists and whole numbers would have other digests."""
  if isinstance(given, list | tuple):
    return tuple(map(_rates, given))
  return float(given) if isinstance(given, int) and abs(given) <= 10**30 else given
