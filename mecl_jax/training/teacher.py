"""Who scores the training examples, and the scores."""

from collections.abc import Callable
import pathlib

import numpy as np

from mecl_jax import config as config_lib
from mecl_jax.curriculum import Difficulty, from_confidence
from mecl_jax.errors import UserError
from mecl_jax.evaluation import predict, report
from mecl_jax.models import FINAL, MultiExit
from mecl_jax.training import devices
from mecl_jax.training.checkpoints import Checkpoints
from mecl_jax.training.log import work
from mecl_jax.training.run import Run, build_model
from mecl_jax.training.workdir import read_identity


def difficulty_scores(
  run: Run, *, begun: bool, plain_run: Callable[[], pathlib.Path]
) -> np.ndarray:
  """Difficulty of every training example, float64 [N], larger is harder; kept in difficulty.npz.

  Args:
    run: its model is the teacher if `curriculum.teacher` is 'final_exit'.
    begun: whether training by these scores has begun, so that they must be there.
    plain_run: trains the same configuration without a curriculum; returns its work directory.

  Raises:
    UserError: the scores are of other data, or gone.
  """
  path, settings, train = run.workdir / 'difficulty.npz', run.config.curriculum, run.dataset.train
  if path.exists():
    return _checked(Difficulty.load(path), path, run)
  if begun:
    raise UserError(f'{path} is gone, and training by it has begun; choose another --workdir')
  if settings.teacher == 'file':
    given = Difficulty.load(settings.difficulty_file)
    score, name = _checked(given, settings.difficulty_file, run), f'file: {given.teacher}'
  elif settings.teacher == 'final_exit':
    score, name = _final_exit_score(run.model, run), 'final_exit'
  else:
    taught = settings.teacher == 'self_taught'
    workdir = plain_run() if taught else pathlib.Path(settings.teacher_workdir)
    score, name = _final_exit_score(_load_model(workdir, run), run), settings.teacher
  Difficulty(train.ids, score, name, run.dataset.name, run.dataset.fingerprint).save(path)
  return score


def _checked(difficulty: Difficulty, path: str | pathlib.Path, run: Run) -> np.ndarray:
  """Scores in the order of the training split."""
  score = difficulty.align(run.dataset.train.ids, path)
  if difficulty.fingerprint != run.dataset.fingerprint:
    raise UserError(
      f'{path} was made for other data: the ids of its {difficulty.dataset} fit, but images or'
      f' labels differ from those of {run.dataset.name}'
    )
  return score


def _final_exit_score(model: MultiExit, run: Run) -> np.ndarray:
  """Scores images that are not augmented, in evaluation mode."""
  train = run.dataset.train
  with work(run.console, 'difficulty', len(train), run.interruption.check) as on_batch:
    logits = predict(model, train.images, (FINAL,), mesh=run.mesh, on_batch=on_batch)
  return from_confidence(logits[:, 0], train.labels)


def _load_model(workdir: pathlib.Path, run: Run) -> MultiExit:
  """The network of another run, from its newest checkpoint that is whole.

  Raises:
    UserError: the folder holds no run, or one that saw other data.
  """
  config = config_lib.read(workdir / 'config.json')
  saw = read_identity(workdir).get('fingerprint')
  if saw != run.dataset.fingerprint:
    raise UserError(
      f'the teacher in {workdir} saw other data than this run: {config.data.name} with fingerprint'
      f' {saw}, not {run.dataset.name} with {run.dataset.fingerprint}; are set, label and'
      ' validation cut the same?'
    )
  model = build_model(config, run.dataset, run.pixel_mean, run.pixel_std, run.mesh)
  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    found = checkpoints.restore(model, devices.replicated(run.mesh))
  if found is None:
    raise UserError(f'the teacher in {workdir} has no checkpoint that can be read')
  if report.load_summary(workdir / 'summary.json') is None:
    run.console.print(f'the teacher in {workdir} has not ended: this is its step {found[0].total}')
  return model
