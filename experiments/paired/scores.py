"""Difficulty scores for all jobs on a shared backbone that use the same teacher."""

import dataclasses
import hashlib
import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax import config as config_lib
from mecl_jax.commands.difficulty import score_difficulty
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import teacher_trainer
from mecl_jax.curriculum import Difficulty
from mecl_jax.data import Dataset
from mecl_jax.teachers.plain_run import plain_config
from mecl_jax.teachers.scoring import difficulty
from mecl_jax.training.run import Run
from mecl_jax.training.strategies import needs_scores

# The fields of `config.curriculum` that determine the scores.
OF_TEACHER = (
  'teacher',
  'measure',
  'teacher_workdir',
  'teacher_exit',
  'difficulty_file',
  'classifier',
  'folds',
  'repeats',
)
# Teachers that need networks in training, from the first step of the backbone.
TRAIN_BACKBONES = ('learning_speed', 'cross_validated')
# Teachers that need a plain run, here on the same backbone.
TRAIN_HEADS = ('self_taught', 'prediction_depth')


class Scores:
  """The scores of all teachers, each in a folder of its own.

  Args:
    plain: resolved configuration of the run that trained the shared backbone.
    folder: for the scores of all teachers.
    dataset: whose training examples are scored.
    console: to print to.
  """

  def __init__(self, plain: ConfigDict, folder: pathlib.Path, dataset: Dataset, console: Console):
    self._plain, self._folder, self._dataset, self._console = plain, folder, dataset, console

  def from_file(self, config: ConfigDict) -> ConfigDict:
    """Returns a job's configuration; a teacher that trains backbones is replaced by its scores.

    Networks like the shared backbone are trained from the start for these scores.

    Raises:
      UserError, RunError, Interrupted: as `score_difficulty`.
    """
    if config.curriculum.teacher not in TRAIN_BACKBONES or not needs_scores(config):
      return config
    folder = self._of(resolve(config))
    if not (path := folder / 'difficulty.npz').exists():
      scored = self._plain.copy_and_resolve_references()
      scored.curriculum.order = 'easy_first'  # an order for which scores are needed
      for name in OF_TEACHER:
        scored.curriculum[name] = config.curriculum[name]
      score_difficulty(folder, scored, console=self._console, data=self._dataset)
    config.curriculum.difficulty_file = str(path)
    config.curriculum.teacher, config.curriculum.measure = 'file', 'auto'
    return config

  def of(self, run: Run) -> Difficulty | None:
    """Returns the scores that a run on the shared backbone needs; None if it needs none.

    Raises:
      UserError: as `scoring.difficulty`.
    """
    if not needs_scores(run.config):
      return None
    config = _scored(run.config)
    folder = self._of(config, _heads(config) if config.curriculum.teacher in TRAIN_HEADS else '')
    folder.mkdir(parents=True, exist_ok=True)
    run = dataclasses.replace(run, workdir=folder, config=config)
    return difficulty(run, begun=False, train_run=teacher_trainer(self._console))

  def _of(self, config: ConfigDict, heads: str = '') -> pathlib.Path:
    """Returns the folder of all jobs that need the same scores."""
    fields = *(config.curriculum[name] for name in OF_TEACHER), heads
    return self._folder / hashlib.sha256(repr(fields).encode()).hexdigest()[:16]


def _scored(config: ConfigDict) -> ConfigDict:
  """Returns a job's configuration without the fields that its scores do not depend on."""
  scored, curriculum = config.copy_and_resolve_references(), config_lib.default().curriculum
  for name in OF_TEACHER:
    curriculum[name] = config.curriculum[name]
  scored.curriculum = curriculum
  return scored


def _heads(config: ConfigDict) -> str:
  """Returns the digest of the plain run of a teacher; the folder's name identifies its backbone."""
  plain = plain_config(config)
  plain.model.pretrained = ''
  return config_lib.digest(plain)
