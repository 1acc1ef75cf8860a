"""The cross-validated teacher: scores examples by networks that were not trained on them.

A memorised example looks easy to the network that was trained on it, but not to these. This is the
loss-based form of the consistency score (Jiang et al., ICML 2021, arXiv 2002.03206), with the
constants of Wu et al. (ICLR 2021, arXiv 2012.03107): 4 folds, 10 repeats.
"""

import dataclasses

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.evaluation import predictions
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.teachers.plain_run import TrainRun, plain_config
from mecl_jax.training.run import Run


def score(run: Run, train_run: TrainRun) -> tuple[np.ndarray, np.ndarray | None]:
  """Scores all examples by held-out predictions.

  Every fold is a run in teacher/ of the run's work directory, with the held-out part as its test
  split. So it resumes like any run, and folds that have ended are not repeated.

  Args:
    run: whose training examples are scored.
    train_run: trains a run to its end.

  Returns:
    the mean difficulty over the repeats, float64 [N]; whether more than half of the repeats predict
    another class than the label, bool [N], None where there are no classes.

  Raises:
    UserError: a class has fewer examples than there are folds.
  """
  settings, train = run.config.curriculum, run.dataset.train
  _check_folds(run.dataset, settings.folds)
  task = TASKS[run.config.task]
  config = _network_only(run.config)
  measured = np.zeros((settings.repeats, len(train)))
  wrong = np.zeros(measured.shape, bool)
  for repeat in range(settings.repeats):
    for fold, (seed, held_out) in enumerate(
      _cut(train.labels, settings.folds, config.seed, repeat)
    ):
      run.interruption.check()
      run.console.print(
        f'cross-validation: fold {fold + 1} of {settings.folds}, repeat {repeat + 1} of'
        f' {settings.repeats}; {len(held_out):,} of {len(train):,} examples held out'
      )
      workdir = run.workdir / 'teacher' / f'repeat{repeat}_fold{fold}'
      config.seed = seed
      train_run(config, workdir, _without(run.dataset, held_out))
      found = predictions.load_predictions(workdir / 'predictions.npz')
      labels = train.labels[held_out]
      assert np.array_equal(found['test_ids'], train.ids[held_out])
      logits = found['test_logits'][:, -1]
      measured[repeat, held_out] = task.measures[settings.measure](logits, labels)
      if task.contradicted is not None:
        wrong[repeat, held_out] = task.contradicted(logits, labels)
  return measured.mean(axis=0), wrong.mean(axis=0) > 0.5 if task.contradicted else None


def _check_folds(dataset: Dataset, folds: int) -> None:
  if dataset.train.labels.ndim > 1:
    if folds > len(dataset.train):
      raise UserError(
        f'curriculum.folds is {folds}, but there are {len(dataset.train)} training examples; use'
        ' fewer folds'
      )
    return
  counts = np.bincount(dataset.train.labels, minlength=dataset.num_classes)
  few = np.flatnonzero(counts < folds)
  if len(few):
    raise UserError(
      f'curriculum.folds is {folds}, but {len(few)} of {len(counts)} classes have fewer training'
      f' examples (class {dataset.class_names[few[0]]} has {counts[few[0]]}); use fewer folds'
    )


def _network_only(config: ConfigDict) -> ConfigDict:
  """Returns the configuration of a run that trains the backbone and its final exit alone."""
  plain = plain_config(config)
  if config.strategy in ('classifier_wise', 'mixed'):
    plain.strategy = 'joint'
    if not plain.model.frozen:
      plain.augment.copies = 0  # this run trains the backbone
    plain.phases.joint = plain.phases.backbone
    plain.model.exits, plain.exit_weights = (), (1.0,)
    plain.model.pretrained_skip = ','.join(filter(None, (plain.model.pretrained_skip, 'heads.*')))
  plain.checkpoints.keep = 1
  return plain


def _cut(labels: np.ndarray, folds: int, seed: int, repeat: int) -> list[tuple[int, np.ndarray]]:
  """Returns, per fold, the seed of its run and the held-out positions, ascending."""
  from sklearn.model_selection import KFold, StratifiedKFold  # importing it takes a second

  cut, *seeds = np.random.SeedSequence((seed, repeat)).generate_state(1 + folds)
  kind = StratifiedKFold if labels.ndim == 1 else KFold
  parts = kind(folds, shuffle=True, random_state=int(cut)).split(labels, labels)
  return [(int(s), held_out) for s, (_, held_out) in zip(seeds, parts, strict=True)]


def _without(dataset: Dataset, held_out: np.ndarray) -> Dataset:
  """Returns the data set with the held-out training examples as its test split."""
  kept = np.ones(len(dataset.train), bool)
  kept[held_out] = False
  clean = dataset.clean_labels
  return dataclasses.replace(
    dataset,
    train=dataset.train.take(kept),
    test=dataset.train.take(held_out),
    clean_labels=None if clean is None else clean[kept],
  )
