"""The plain run that some teachers need: the same training without a curriculum."""

from collections.abc import Callable
import pathlib

from ml_collections import ConfigDict

from mecl_jax import config as config_lib
from mecl_jax.data import Dataset
from mecl_jax.training.run import Run

# Trains a run to its end: resolved configuration, work directory, data set.
TrainRun = Callable[[ConfigDict, pathlib.Path, Dataset], object]


def plain_config(config: ConfigDict) -> ConfigDict:
  """Returns a resolved configuration without curriculum, weights, exit schedule and distillation.

  The evaluation target goes too, since its files describe the exits of the original run.
  """
  plain = config.copy_and_resolve_references()
  plain.curriculum.order = 'none'
  plain.curriculum.sample_weights, plain.curriculum.contradicted = 'none', 'keep'
  plain.curriculum.exit_strengths = plain.curriculum.easy_end = ()  # one value per exit
  plain.distillation.weight = plain.distillation.feature_weight = 0.0
  plain.exit_schedule = 'constant'
  plain.curriculum.per_exit = 'shared'
  plain.curriculum.exit_factors, plain.curriculum.exit_pacings = (1.0,), ''
  plain.report.compare_with = ''
  plain.evaluation = config_lib.default().evaluation
  return plain


def train_plain_run(run: Run, train_run: TrainRun) -> pathlib.Path:
  """Trains the plain run of a run's configuration in `teacher/` of its work directory.

  Args:
    run: that needs a teacher.
    train_run: trains a run to its end.

  Returns:
    the work directory of the plain run.
  """
  workdir = run.workdir / 'teacher'
  run.console.print(f'training the teacher, a run without a curriculum: {workdir}', soft_wrap=True)
  train_run(plain_config(run.config), workdir, run.dataset)
  return workdir
