"""Who scores the training examples: every teacher by name, and the scores of a run."""

from collections.abc import Callable
import dataclasses
import pathlib

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.curriculum import NEED_TEACHER, Difficulty, scores
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError, choose
from mecl_jax.evaluation import penultimate_features, predict
from mecl_jax.models import FINAL, MultiExit
from mecl_jax.teachers import cross_validation, other_runs, transfer
from mecl_jax.training import record
from mecl_jax.training.log import work
from mecl_jax.training.run import Run

TrainRun = Callable[[ConfigDict, pathlib.Path, Dataset], object]

MEASURES_OF = scores.MEASURES_OF_TEACHER


def wanted(config: ConfigDict) -> bool:
  """Whether training needs scores: to order by, or to weight by."""
  settings = config.curriculum
  return settings.order in NEED_TEACHER or settings.sample_weights == 'easy_weighted'


def waits_for_backbone(config: ConfigDict) -> bool:
  """Whether the teacher is the run's own backbone, so that its training must have ended."""
  settings = config.curriculum
  own = settings.teacher in ('final_exit', 'learning_speed') or (
    settings.teacher == 'transfer' and not settings.teacher_workdir
  )
  return own and config.strategy in ('classifier_wise', 'mixed')


def difficulty(run: Run, *, begun: bool, train_run: TrainRun) -> Difficulty:
  """Difficulty of every training example, in the split's order; kept in difficulty.npz.

  Args:
    run: its model is the teacher where `waits_for_backbone` says so.
    begun: whether training by these scores has begun, so that they must be there.
    train_run: trains another run to its end: configuration, work directory, data set.

  Raises:
    UserError: the scores are of other data, or gone, or the teacher cannot be asked.
  """
  path, settings, train = run.workdir / 'difficulty.npz', run.config.curriculum, run.dataset.train
  if path.exists():
    return _checked(Difficulty.load(path), path, run)
  if begun:
    raise UserError(
      f'there is no {path}, and training has begun without it; choose another --workdir'
    )
  if settings.teacher == 'file':
    given = Difficulty.load(settings.difficulty_file)
    aligned = _checked(given, settings.difficulty_file, run)
    found = dataclasses.replace(aligned, teacher=f'file: {given.teacher}')
  else:
    score = _score(run, train_run)
    name = settings.teacher
    if name == 'checkpoint' and settings.teacher_exit != FINAL:
      name = f'checkpoint, {settings.teacher_exit}'
    found = Difficulty(train.ids, score, name, settings.measure, '', '')
  found = dataclasses.replace(found, dataset=run.dataset.name, fingerprint=run.dataset.fingerprint)
  found.save(path)
  return found


def _checked(given: Difficulty, path: str | pathlib.Path, run: Run) -> Difficulty:
  """The scores in the order of the training split."""
  ids = run.dataset.train.ids
  score = given.align(ids, path)
  if given.fingerprint not in ('', run.dataset.fingerprint):
    raise UserError(
      f'{path} was made for other data: the ids of its {given.dataset} fit, but images or'
      f' labels differ from those of {run.dataset.name}'
    )
  return dataclasses.replace(given, ids=ids, score=score)


def _score(run: Run, train_run: TrainRun) -> np.ndarray:
  """Asks the teacher; float64 [N], larger is harder."""
  config, labels = run.config, run.dataset.train.labels
  settings = config.curriculum
  own = waits_for_backbone(config)

  def other() -> pathlib.Path:
    """The run that is asked if it is not this one: as given, or a plain one made now."""
    return pathlib.Path(settings.teacher_workdir or other_runs.make_plain(run, train_run))

  if settings.teacher == 'cross_validated':
    return cross_validation.score(run, train_run)
  if settings.teacher == 'learning_speed':
    workdir = run.workdir if own else other_runs.make_plain(run, train_run)
    return scores.SPEEDS[settings.measure](*record.load(workdir, run.dataset.train.ids))
  if settings.teacher == 'prediction_depth':
    model = other_runs.load_model(other(), run)
    return scores.prediction_depth(_logits(model, run, model.exit_names), labels)
  if settings.teacher == 'transfer':
    model = run.model if own else other_runs.load_model(other(), run, other_data=True)
    features = _over_training_images(penultimate_features, model, run)
    run.console.print('a classifier is fitted to the features of the frozen network')
    logits = transfer.log_probabilities(features, labels, settings.classifier, config.seed)
  elif settings.teacher == 'checkpoint':
    model = other_runs.load_model(pathlib.Path(settings.teacher_workdir), run)
    place = f'curriculum.teacher_exit (of {settings.teacher_workdir})'
    choose(place, settings.teacher_exit, model.exit_names)
    logits = _logits(model, run, (settings.teacher_exit,))[:, 0]
  else:
    model = run.model if own else other_runs.load_model(other_runs.make_plain(run, train_run), run)
    logits = _logits(model, run, (FINAL,))[:, 0]
  return scores.MEASURES[settings.measure](logits, labels)


def _logits(model: MultiExit, run: Run, exits: tuple[str, ...]) -> np.ndarray:
  """[N, exits, classes] of images that are not augmented, in evaluation mode."""
  return _over_training_images(predict, model, run, exits=exits)


def _over_training_images(function: Callable, model: MultiExit, run: Run, **options) -> np.ndarray:
  images = run.dataset.train.images
  with work(run.console, 'difficulty', len(images), run.interruption.check) as on_batch:
    return function(model, images, mesh=run.mesh, on_batch=on_batch, **options)
