"""Trains many heads on one frozen backbone, which runs once for all of them."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from experiments.paired.backbones import begun_with, trained_backbone
from experiments.paired.jobs import Cell, Job
from experiments.paired.measures import FOUND, Measures, measure
from experiments.paired.scores import Scores
from experiments.paired.study import Study
from experiments.paired.table import RUN
from mecl_jax import config as config_lib
from mecl_jax.curriculum import Difficulty
from mecl_jax.data import Dataset, Split
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation.predictions import TEST, VALIDATION, Predicted
from mecl_jax.training import rates, sources
from mecl_jax.training.batches import make_curriculum
from mecl_jax.training.copies import features_of_copies
from mecl_jax.training.features import features_of, read_logits
from mecl_jax.training.initial_weights import load_initial_weights
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.phase import PhaseSteps
from mecl_jax.training.plan import PhasePlan, make_plan
from mecl_jax.training.run import Run, set_up_run
from mecl_jax.training.step import Arrays


class SharedBackbone:
  """The trained backbone of a setting and a seed, and its features of every image.

  Args:
    study: of the jobs.
    cell: setting and seed.
    folder: of the study.
    backbones: folder of backbones, which studies share.
    dataset: of the setting.
    console: to print to.
    interruption: holds a request to stop.
  """

  def __init__(
    self,
    study: Study,
    cell: Cell,
    folder: pathlib.Path,
    backbones: pathlib.Path,
    dataset: Dataset,
    console: Console,
    interruption: Interruption,
  ):
    plain, self._backbone = trained_backbone(study, cell, backbones, dataset, console)
    self._study = study
    self._scores = Scores(plain, folder / 'scores' / self._backbone.name, dataset, console)
    opening = study.config(cell[0], seed=cell[1])
    opening.curriculum = config_lib.default().curriculum  # scores are computed for jobs
    self._run = set_up_run(self._config(opening), self._backbone, console, interruption, dataset)
    load_initial_weights(self._run)
    model = self._run.model
    self._splits = {VALIDATION: dataset.validation, TEST: dataset.test}
    console.print(f'{cell[0]}, seed {cell[1]}: features of every image', soft_wrap=True)
    self._sources = {n: _source(self._run, split) for n, split in self._splits.items()}
    self._train_source: tuple[int, Arrays] | None = None  # with the number of its copies
    self._source_of(self._run)
    self._initial = jax.tree.map(jnp.copy, nnx.state(model))

  @property
  def digest(self) -> str:
    """Returns the digest of the run that trained the backbone."""
    return self._run.digest

  def run(self, job: Job) -> Measures:
    """Trains the heads of a job, from the same initial parameters as every other job.

    Heads on a frozen backbone are independent. If every early exit has a learning rate of its own,
    all heads train together; if it has other fields of its own, all heads train once with the
    fields of each exit, and each head is taken from its own training.

    Raises:
      UserError: the job's configuration cannot be run.
      RunError: the loss is not a number.
      Interrupted: SIGTERM or Ctrl-C.
    """
    found: dict[str, Any] = {}
    splits = (VALIDATION, TEST) if job.kind == RUN else (VALIDATION,)
    parts = [self._trained(config, found, splits) for config in job.configs(self._study)]
    model, shape = self._run.model, self._run.dataset.image_shape
    predicted = map(_composed, zip(*parts, strict=True))
    return measure(model, shape, *predicted) | ({FOUND: found} if job.kind == RUN else {})

  def _trained(
    self, config: ConfigDict, found: dict[str, Any], splits: Sequence[str]
  ) -> list[Predicted]:
    """Trains the heads with a configuration; returns predictions of the splits.

    Fields that were 'auto' are put into `found`.
    """
    config = self._config(config)
    run, model = dataclasses.replace(self._run, config=config), self._run.model
    sizes = len(run.dataset.train), run.dataset.num_classes
    (plan,) = make_plan(config, model.exit_names, model.segments, *sizes)
    difficulty = self._scores.of(run)
    nnx.update(model, jax.tree.map(jnp.copy, self._initial))  # steps donate their input
    source = self._source_of(run)
    if not plan.distilled:
      source = {name: array for name, array in source.items() if name != 'teacher'}
    if plan.settings.learning_rate == 'auto':
      plan = self._with_rates(run, plan, difficulty, source)
      assert plan.head_rates is not None
      found['phases.heads.learning_rate'] = [float(f'{rate:.3g}') for rate in plan.head_rates]
    self._train(run, plan, difficulty, source)
    return [self._predicted(name) for name in splits]

  def _source_of(self, run: Run) -> Arrays:
    """Returns the features of the training images of a job, or of as many copies as it has.

    Those of the job before are kept, since most jobs have the same number.
    """
    copies = run.config.augment.copies
    if self._train_source is None or self._train_source[0] != copies:
      self._train_source = None  # both together might not fit into memory
      self._train_source = copies, _source(run, run.dataset.train, copies)
    return self._train_source[1]

  def _config(self, config: ConfigDict) -> ConfigDict:
    """Returns the configuration of a run on this backbone, resolved."""
    return begun_with(self._backbone, self._scores.from_file(config))

  def _with_rates(
    self, run: Run, plan: PhasePlan, difficulty: Difficulty | None, source: Arrays
  ) -> PhasePlan:
    """Returns a plan with the learning rates that its search finds."""
    validation, check = self._sources[VALIDATION], run.interruption.check
    *_, last = rates.search(run, plan, difficulty, source, validation, on_step=check)
    return dataclasses.replace(plan, head_rates=last.best(1)[0].astype(np.float32))

  def _train(
    self, run: Run, plan: PhasePlan, difficulty: Difficulty | None, source: Arrays
  ) -> None:
    """Trains a phase to its end, in place."""
    phase, finite = PhaseSteps(run, plan, *make_curriculum(run, plan, difficulty), source), []
    for _, metrics in phase.take():
      run.interruption.check()
      finite.append(metrics.finite.all())
    if not np.all(finite):
      raise RunError('the loss is not a number; lower the learning rate')
    phase.update_model()

  def _predicted(self, name: str) -> Predicted:
    """Predicts a split with the present early exits and the final exit."""
    model, source = self._run.model, self._sources[name]
    early = read_logits(model, source, model.exit_names[:-1])
    logits = np.concatenate((early, source['teacher'][:, None]), axis=1)
    return Predicted(name, logits, self._splits[name].labels)


def _composed(parts: Sequence[Predicted]) -> Predicted:
  """Returns the predictions of a network whose early exit k was trained in part k."""
  logits = parts[0].logits.copy()
  for exit_, part in enumerate(parts[1:], start=1):
    logits[:, exit_] = part.logits[:, exit_]
  return dataclasses.replace(parts[0], logits=logits)


def _source(run: Run, split: Split, copies: int = 0) -> Arrays:
  """Returns the features of the early heads and the final exit's logits, for a whole split.

  With copies they are those of the augmented copies of the training split.
  """
  early, check = run.model.exit_names[:-1], run.interruption.check
  if copies:
    kept = features_of_copies(run, early, taught=True, on_batch=check)
  else:
    kept = features_of(run, split, early, on_batch=check)
  if kept is None:
    fewer = 'fewer augment.copies, ' if copies else ''
    raise UserError(
      f'the features of the heads do not fit into memory; choose {fewer}other exits or heads'
    )
  return kept if copies else kept | sources.teacher_logits(run, split)
