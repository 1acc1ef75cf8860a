"""Scores of examples that the teacher was not trained on: k folds, cut anew r times.

What was memorised looks easy to a network that trained on it; to these it does not. The loss-based
form of the consistency score (Jiang et al., ICML 2021, arXiv 2002.03206), with the constants of Wu
et al. (ICLR 2021, arXiv 2012.03107): 4 folds, 10 repeats.
"""

from collections.abc import Callable
import dataclasses
import pathlib

from ml_collections import ConfigDict
import numpy as np

from mecl_jax.curriculum import scores
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.evaluation import predictions
from mecl_jax.teachers.other_runs import plain_config
from mecl_jax.training.run import Run


def score(run: Run, train_run: Callable[[ConfigDict, pathlib.Path, Dataset], object]) -> np.ndarray:
  """Mean over the repeats of a measure of the held-out predictions, float64 [N].

  Every fold is a run of its own in teacher/ of the run's work directory, with the held-out part as
  its test split: a stop costs no more than in any run, and folds that have ended are not repeated.

  Raises:
    UserError: a class has fewer examples than there are folds.
  """
  settings, train = run.config.curriculum, run.dataset.train
  _check_classes(run.dataset, settings.folds)
  config = _network_only(run.config)
  measured = np.zeros((settings.repeats, len(train)))
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
      measured[repeat, held_out] = scores.MEASURES[settings.measure](
        found['test_logits'][:, -1], labels
      )
  return measured.mean(axis=0)


def _check_classes(dataset: Dataset, folds: int) -> None:
  counts = np.bincount(dataset.train.labels, minlength=dataset.num_classes)
  few = np.flatnonzero(counts < folds)
  if len(few):
    raise UserError(
      f'curriculum.folds is {folds}, but {len(few)} of {len(counts)} classes have fewer training'
      f' examples (class {dataset.class_names[few[0]]} has {counts[few[0]]}): a fold has none'
    )


def _network_only(config: ConfigDict) -> ConfigDict:
  """Trains the backbone with its final exit as `config` does, and no early exits after it."""
  plain = plain_config(config)
  if config.strategy in ('classifier_wise', 'mixed'):
    plain.strategy = 'joint'
    plain.phases.joint = plain.phases.backbone
    plain.model.exits, plain.exit_weights = (), (1.0,)
    plain.model.pretrained_skip = ','.join(filter(None, (plain.model.pretrained_skip, 'heads.*')))
  plain.checkpoints.keep = 1
  return plain


def _cut(labels: np.ndarray, folds: int, seed: int, repeat: int) -> list[tuple[int, np.ndarray]]:
  """Per fold a seed of its run and the positions that are held out, ascending."""
  from sklearn.model_selection import StratifiedKFold  # a second of start-up, only here

  cut, *seeds = np.random.SeedSequence((seed, repeat)).generate_state(1 + folds)
  parts = StratifiedKFold(folds, shuffle=True, random_state=int(cut)).split(labels, labels)
  return [(int(s), held_out) for s, (_, held_out) in zip(seeds, parts, strict=True)]


def _without(dataset: Dataset, held_out: np.ndarray) -> Dataset:
  """The data set whose test split is what is held out of training."""
  kept = np.ones(len(dataset.train), bool)
  kept[held_out] = False
  clean = dataset.clean_labels
  return dataclasses.replace(
    dataset,
    train=dataset.train.take(kept),
    test=dataset.train.take(held_out),
    clean_labels=None if clean is None else clean[kept],
  )
