"""Difficulty scores of a run: every teacher by name, and how it is applied."""

from collections.abc import Callable
import dataclasses
import pathlib

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.curriculum import Difficulty, scores
from mecl_jax.errors import DamagedFile, MissingFile, UserError, choose
from mecl_jax.evaluation import penultimate_features, predict
from mecl_jax.evaluation.tasks import CLASSIFICATION, TASKS
from mecl_jax.models import FINAL, MultiExit
from mecl_jax.teachers import cross_validation, transfer
from mecl_jax.teachers.plain_run import TrainRun, train_plain_run
from mecl_jax.training import learning_speed
from mecl_jax.training.features import predict_split
from mecl_jax.training.log import work
from mecl_jax.training.networks import load_network_for
from mecl_jax.training.run import Run
from mecl_jax.training.strategies import scores_own_backbone


def measures_of(task: str, teacher: str) -> tuple[str, ...]:
  """Returns the measures of a teacher for a task by their names, the default first.

  There are none if the task cannot have this teacher.
  """
  found = scores.MEASURES_OF_TEACHER[teacher]
  if task == CLASSIFICATION.name or teacher == 'file':
    return found
  # In place of measures of logits; the other teachers need predictions that are right or wrong.
  return tuple(TASKS[task].measures) if set(found) <= set(scores.MEASURES) else ()


def check(config: ConfigDict) -> None:
  """Checks what the teacher needs, and that no field of another teacher is set.

  Args:
    config: each field valid by itself, `curriculum.measure` not 'auto'.

  Raises:
    UserError: a field is missing, has no effect, or is not a measure of the teacher.
  """
  settings, teacher = config.curriculum, config.curriculum.teacher
  measures = measures_of(config.task, teacher)
  if not measures:
    possible = [name for name in scores.MEASURES_OF_TEACHER if measures_of(config.task, name)]
    raise UserError(
      f'curriculum.teacher={teacher} is not possible with task={config.task}; choose one of:'
      f' {", ".join(possible)}'
    )
  choose(f'curriculum.measure of teacher {teacher}', settings.measure, measures)
  for field, needed_by, used_by in (
    ('teacher_workdir', ('checkpoint',), ('checkpoint', 'transfer', 'prediction_depth')),
    ('difficulty_file', ('file',), ('file',)),
  ):
    if teacher in needed_by and not settings[field]:
      raise UserError(f'curriculum.teacher={teacher} needs curriculum.{field}')
    if settings[field] and teacher not in used_by:
      raise UserError(
        f'curriculum.{field} has no effect with curriculum.teacher={teacher}; used only by:'
        f' {", ".join(used_by)}'
      )
  if settings.teacher_exit != FINAL and teacher != 'checkpoint':
    raise UserError(
      f'curriculum.teacher_exit has no effect with curriculum.teacher={teacher}; used only by:'
      ' checkpoint'
    )
  if teacher == 'prediction_depth' and not (config.model.exits or settings.teacher_workdir):
    raise UserError('curriculum.teacher=prediction_depth needs early exits: model.exits is empty')


def difficulty(run: Run, *, begun: bool, train_run: TrainRun, digest: str = '') -> Difficulty:
  """Returns the difficulty of every training example; keeps it in difficulty.npz.

  If that file is missing or damaged, the scores are computed again.

  Args:
    run: its model is the teacher if `scores_own_backbone`, and must be trained by then.
    begun: whether training with these scores has begun. Without a digest difficulty.npz must then
      exist.
    digest: that the scores must have, since training with them has begun; '' if unknown.
    train_run: trains another run to its end.

  Returns:
    the scores in the order of the training split.

  Raises:
    UserError: the scores are missing, of other data, or not those that training began with; or the
      teacher cannot be applied.
  """
  path = run.workdir / 'difficulty.npz'
  kept = _kept(path, run)
  if begun and not (kept or digest):
    raise UserError(
      f'{path} is missing or damaged, but training with these scores has begun; choose another'
      ' --workdir'
    )
  found = kept or _new(run, train_run)
  if digest not in ('', found.digest):
    raise UserError(
      f'{path} has other scores than training began with; restore the file, or choose another'
      ' --workdir'
      if kept
      else f'{path} was lost, and the scores computed again differ; choose another --workdir'
    )
  if not kept:
    found.save(path)
  return found


def check_kept(run: Run, digest: str) -> None:
  """Checks that difficulty.npz, if there is one, has the scores that a run trained with.

  Args:
    run: the run.
    digest: of these scores; '' if unknown.

  Raises:
    UserError: it has other scores, or cannot be read.
  """
  path, otherwise = run.workdir / 'difficulty.npz', 'delete the file to evaluate without it'
  try:
    found = _aligned(Difficulty.load(path), path, run)
  except MissingFile:
    return
  except DamagedFile as error:
    raise DamagedFile(f'{error}; {otherwise}') from None
  if digest not in ('', found.digest):
    raise UserError(
      f'{path} has other scores than the run trained with; restore it, or {otherwise}'
    )


def _kept(path: pathlib.Path, run: Run) -> Difficulty | None:
  """Returns the scores of difficulty.npz; None if it is missing, or damaged and reported."""
  try:
    return _aligned(Difficulty.load(path), path, run)
  except MissingFile:
    return None
  except DamagedFile as error:
    run.console.print(f'{error}; the scores are computed again', soft_wrap=True, markup=False)
    return None


def _new(run: Run, train_run: TrainRun) -> Difficulty:
  """Returns the scores of the teacher."""
  settings, train = run.config.curriculum, run.dataset.train
  if settings.teacher == 'file':
    given = Difficulty.load(settings.difficulty_file)
    aligned = _aligned(given, settings.difficulty_file, run)
    found = dataclasses.replace(aligned, teacher=f'file: {given.teacher}')
  else:
    score, contradicted = _score(run, train_run)
    name = settings.teacher
    if name == 'checkpoint' and settings.teacher_exit != FINAL:
      name = f'checkpoint, {settings.teacher_exit}'
    found = Difficulty(train.ids, score, name, settings.measure, '', '', contradicted)
  return dataclasses.replace(
    found,
    dataset=run.dataset.name,
    fingerprint=run.dataset.fingerprint,
    drops=settings.contradicted == 'drop',
  )


def _aligned(given: Difficulty, path: str | pathlib.Path, run: Run) -> Difficulty:
  """Returns the scores in the order of the training split."""
  aligned = given.aligned(run.dataset.train.ids, path)
  if given.fingerprint not in ('', run.dataset.fingerprint):
    raise UserError(
      f'{path} was made for other data: it has the ids of {given.dataset}, but images or labels'
      f' differ from those of {run.dataset.name}'
    )
  return dataclasses.replace(aligned, drops=run.config.curriculum.contradicted == 'drop')


def _score(run: Run, train_run: TrainRun) -> tuple[np.ndarray, np.ndarray | None]:
  """Applies the teacher.

  Returns:
    float64 [N], larger is harder; bool [N], whether it predicts another class than the label, None
    where there are no classes.
  """
  config, labels, task = run.config, run.dataset.train.labels, TASKS[run.config.task]
  settings, own = config.curriculum, scores_own_backbone(run.config)

  def other_run() -> pathlib.Path:
    """Returns the given run, or trains a plain one."""
    return pathlib.Path(settings.teacher_workdir or train_plain_run(run, train_run))

  if settings.teacher == 'cross_validated':
    return cross_validation.score(run, train_run)
  if settings.teacher == 'learning_speed':
    workdir = run.workdir if own else train_plain_run(run, train_run)
    learned, errors, epochs = learning_speed.load(workdir, run.dataset.train.ids)
    return scores.SPEEDS[settings.measure](learned, errors, epochs), learned == epochs
  if settings.teacher == 'prediction_depth':
    model = load_network_for(run, other_run())
    of_exits = _logits(model, run, model.exit_names)
    contradicted = scores.contradicted(of_exits[:, -1], labels)
    return scores.prediction_depth(of_exits, labels), contradicted
  if settings.teacher == 'transfer':
    model = run.model if own else load_network_for(run, other_run(), any_data=True)
    features = _on_training_images(penultimate_features, model, run)
    model_kind = 'classifier' if task.from_features is None else 'linear model'
    run.console.print(f'fitting a {model_kind} to the features of the frozen network')
    if task.from_features is not None:
      logits = task.from_features(features, labels)
    else:
      logits = transfer.log_probabilities(features, labels, settings.classifier, config.seed)
  elif settings.teacher == 'checkpoint':
    model = load_network_for(run, pathlib.Path(settings.teacher_workdir))
    field = f'curriculum.teacher_exit (of {settings.teacher_workdir})'
    choose(field, settings.teacher_exit, model.exit_names)
    logits = _logits(model, run, (settings.teacher_exit,))[:, 0]
  elif settings.teacher in ('final_exit', 'self_taught'):
    model = run.model if own else load_network_for(run, train_plain_run(run, train_run))
    logits = _final_logits(model, run)
  else:
    raise NotImplementedError(f'the teacher {settings.teacher} has no branch here')
  contradicts = task.contradicted
  wrong = None if contradicts is None else contradicts(logits, labels)
  return task.measures[settings.measure](logits, labels), wrong


def _logits(model: MultiExit, run: Run, exits: tuple[str, ...]) -> np.ndarray:
  """Returns the logits [N, exits, classes] of images without augmentation."""
  return _on_training_images(predict, model, run, exits=exits)


def _final_logits(model: MultiExit, run: Run) -> np.ndarray:
  if model is not run.model:
    return _logits(model, run, (FINAL,))[:, 0]
  train = run.dataset.train
  with work(run.console, 'difficulty', len(train), run.interruption.check) as on_batch:
    return predict_split(run, train, (FINAL,), on_batch=on_batch)[:, 0]


def _on_training_images(function: Callable, model: MultiExit, run: Run, **options) -> np.ndarray:
  images = run.dataset.train.images
  with work(run.console, 'difficulty', len(images), run.interruption.check) as on_batch:
    return function(model, images, mesh=run.mesh, on_batch=on_batch, **options)
