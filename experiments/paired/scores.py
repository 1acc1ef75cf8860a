"""Difficulty of the training examples, for all jobs of a shared backbone that ask one teacher."""

import dataclasses
import hashlib
import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax import config as config_lib
from mecl_jax.commands import train
from mecl_jax.curriculum import Difficulty
from mecl_jax.data import Dataset
from mecl_jax.teachers import other_runs
from mecl_jax.teachers import scoring as teachers
from mecl_jax.training.run import Run

# What the scores hang on, of `config.curriculum`.
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
WATCH = ('learning_speed', 'cross_validated')  # see networks learn, from the backbone's first step
TRAIN_HEADS = ('self_taught', 'prediction_depth')  # are a plain run, here on the same backbone


class Scores:
  """What teachers say of the training examples, kept in folders of their own.

  Args:
    plain: of the run that trained the shared backbone.
    folder: for the scores of all teachers.
    dataset: that is scored.
    console: to print to.
  """

  def __init__(self, plain: ConfigDict, folder: pathlib.Path, dataset: Dataset, console: Console):
    self._plain, self._folder, self._dataset, self._console = plain, folder, dataset, console

  def watched(self, config: ConfigDict) -> ConfigDict:
    """A job's configuration; where its teacher sees networks learn, with a file of its scores.

    Networks like the shared backbone are trained from the beginning for it.

    Raises: as `train.score`.
    """
    if config.curriculum.teacher not in WATCH or not teachers.wanted(config):
      return config
    folder = self._of(config_lib.resolve(config))
    if not (path := folder / 'difficulty.npz').exists():
      asking = self._plain.copy_and_resolve_references()
      asking.curriculum.order = 'easy_first'  # scores are made for whoever has an order
      for name in OF_TEACHER:
        asking.curriculum[name] = config.curriculum[name]
      train.score(folder, asking, console=self._console, dataset=self._dataset)
    config.curriculum.difficulty_file = str(path)
    config.curriculum.teacher, config.curriculum.measure = 'file', 'auto'
    return config

  def of(self, run: Run) -> Difficulty | None:
    """The scores that a run on the shared backbone asks for; None if it asks for none.

    Raises: as `teachers.difficulty`.
    """
    if not teachers.wanted(run.config):
      return None
    config = _asking(run.config)
    folder = self._of(config, _heads(config) if config.curriculum.teacher in TRAIN_HEADS else '')
    folder.mkdir(parents=True, exist_ok=True)
    run = dataclasses.replace(run, workdir=folder, config=config)
    return teachers.difficulty(run, begun=False, train_run=self._train)

  def _of(self, config: ConfigDict, heads: str = '') -> pathlib.Path:
    """The folder of all jobs that ask the same of the same teacher."""
    asked = *(config.curriculum[name] for name in OF_TEACHER), heads
    return self._folder / hashlib.sha256(repr(asked).encode()).hexdigest()[:16]

  def _train(self, config: ConfigDict, workdir: pathlib.Path, dataset: Dataset) -> None:
    train.train(config, workdir, console=self._console, dataset=dataset, brief=True)


def _asking(config: ConfigDict) -> ConfigDict:
  """A job's configuration with nothing of its curriculum but what the teacher is asked."""
  asking, curriculum = config.copy_and_resolve_references(), config_lib.default().curriculum
  for name in OF_TEACHER:
    curriculum[name] = config.curriculum[name]
  asking.curriculum = curriculum
  return asking


def _heads(config: ConfigDict) -> str:
  """Digest of the plain run that a teacher trains; its backbone is known by the folder's name."""
  plain = other_runs.plain_config(config)
  plain.model.pretrained = ''
  return config_lib.digest(plain)
