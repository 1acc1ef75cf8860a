"""Many trainings of the heads of one frozen backbone: the backbone runs once for all of them."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from experiments.paired.backbones import begun_with, trained_backbone
from experiments.paired.jobs import Cell, Job
from experiments.paired.measures import Measures, measure
from experiments.paired.scores import Scores
from experiments.paired.study import Study
from mecl_jax import config as config_lib
from mecl_jax.commands import train
from mecl_jax.curriculum import Difficulty
from mecl_jax.data import Dataset, Split
from mecl_jax.errors import RunError, UserError
from mecl_jax.evaluation import predict
from mecl_jax.evaluation.predictions import TEST, VALIDATION, Predicted
from mecl_jax.models import FINAL, set_trainable
from mecl_jax.training import devices, sources
from mecl_jax.training import initial_weights as weights
from mecl_jax.training.batches import batch_maker, make_layout
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.loop import begin, objective_of, per_dispatch
from mecl_jax.training.optimizers import make_optimizer
from mecl_jax.training.plan import PhasePlan, make_plan
from mecl_jax.training.run import Run, open_run
from mecl_jax.training.step import Arrays, Objective, make_step

TRAIN = 'train'


class SharedBackbone:
  """The trained backbone of a setting and a seed, and what the heads on it see of every image.

  Args:
    study: that the jobs are of.
    cell: setting and seed.
    folder: of the study.
    backbones: folder of backbones, which studies share.
    dataset: of the setting.
    console: to print to.
    interruption: whether a stop was asked for.
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
    opening.curriculum = config_lib.default().curriculum  # no teacher is asked before a job does
    self._run = open_run(self._config(opening), self._backbone, console, interruption, dataset)
    weights.begin(self._run)
    model = self._run.model
    self._splits = {TRAIN: dataset.train, VALIDATION: dataset.validation, TEST: dataset.test}
    console.print(f'{cell[0]}, seed {cell[1]}: what the heads see of every image', soft_wrap=True)
    self._sources = {n: _source(self._run, split) for n, split in self._splits.items()}
    self._begins = jax.tree.map(jnp.copy, nnx.state(model))

  @property
  def digest(self) -> str:
    """Of the run that trained the backbone."""
    return self._run.digest

  def run(self, job: Job) -> Measures:
    """Trains the heads as a job says, from the same initial parameters as every other job.

    Where every early exit has fields of its own, all train once with each of them, and every head
    is taken from its own training: one learns what it learns whatever the others do.

    Raises:
      UserError: the job's configuration cannot be run.
      RunError: the loss is not a number.
      Interrupted: a stop was asked for.
    """
    told = [self._learnt(config) for config in job.configs(self._study)]
    model, shape = self._run.model, self._run.dataset.image_shape
    return measure(model, shape, *map(_composed, zip(*told, strict=True)))

  def _learnt(self, config: ConfigDict) -> tuple[Predicted, Predicted]:
    """What the exits of heads that a configuration trains say of validation and test."""
    config = self._config(config)
    run, model = dataclasses.replace(self._run, config=config), self._run.model
    sizes = len(run.dataset.train), run.dataset.num_classes
    (plan,) = make_plan(config, model.exit_names, model.segments, *sizes)
    difficulty = self._scores.of(run)
    nnx.update(model, jax.tree.map(jnp.copy, self._begins))  # for a step gives its input away
    self._train(run, plan, difficulty)
    return self._predicted(VALIDATION), self._predicted(TEST)

  def _config(self, config: ConfigDict) -> ConfigDict:
    """Of a run that takes this backbone as it is."""
    return begun_with(self._backbone, self._scores.watched(config))

  def _train(self, run: Run, plan: PhasePlan, difficulty: Difficulty | None) -> None:
    """Trains a phase to its end, in place."""
    set_trainable(run.model, plan.phase.trainable)
    source = self._sources[TRAIN]
    if not plan.distilled:
      source = {name: array for name, array in source.items() if name != 'teacher'}
    curriculum, easiness = train.curriculum_of(run, plan, difficulty)
    make = batch_maker(run, plan, curriculum, easiness, streamed=False)
    graphdef, moving, frozen = begin(run, plan)
    everywhere, layout = devices.replicated(run.mesh), make_layout(run.mesh, plan, streamed=False)
    moving, frozen, key = jax.device_put(
      (moving, frozen, jax.random.key(plan.seeds[2])), everywhere
    )
    settings = plan.settings
    optimizer = (settings.optimizer, settings.momentum, settings.nesterov, settings.weight_decay)
    step = _compiled_step(graphdef, optimizer, objective_of(run.config, plan))
    finite = []
    steps, at_once = range(plan.steps), per_dispatch(run.config, plan.steps)
    for _, batches in sources.dispatches(make, steps, at_once, streamed=False):
      run.interruption.check()
      moving, measured = step(moving, frozen, source, key, jax.device_put(batches, layout))
      finite.append(measured.finite.all())
    if not np.all(finite):
      raise RunError('the loss is not a number; lower the learning rate')
    nnx.update(run.model, moving.params, moving.statistics)

  def _predicted(self, name: str) -> Predicted:
    """What the early exits say now, and the final one always does."""
    model, source = self._run.model, self._sources[name]
    model.eval()
    graphdef, state = nnx.split(model)
    early = _compiled_read()(graphdef, model.exit_names[:-1], state, source['summaries'])
    logits = np.concatenate((early, source['teacher'][:, None]), axis=1)
    return Predicted(name, logits, self._splits[name].labels)


def _composed(told: Sequence[Predicted]) -> Predicted:
  """What a network says whose early exits were trained apart, each with the others beside it."""
  logits = told[0].logits.copy()
  for exit_, of_exit in enumerate(told[1:], start=1):
    logits[:, exit_] = of_exit.logits[:, exit_]
  return dataclasses.replace(told[0], logits=logits)


def _source(run: Run, split: Split) -> Arrays:
  """What the early heads see of every image of a split, and what the final exit says."""
  early, check = run.model.exit_names[:-1], run.interruption.check
  kept = sources.cached_features(run.model, split, early, run.mesh, on_batch=check)
  if kept is None:
    raise UserError('what the heads see does not fit in memory; choose other exits or heads')
  final = predict(run.model, split.images, (FINAL,), mesh=run.mesh, on_batch=check)[:, 0]
  return {**kept, 'teacher': jax.device_put(final, devices.replicated(run.mesh))}


@functools.cache
def _compiled_step(
  graphdef: nnx.GraphDef, optimizer: tuple[str, float, bool, float], objective: Objective
) -> Callable:
  """One compilation for all jobs of one form, whatever their backbones, orders and rates."""
  names = ('optimizer', 'momentum', 'nesterov', 'weight_decay')
  settings = ConfigDict(dict(zip(names, optimizer, strict=True)))
  return make_step(graphdef, make_optimizer(settings), objective)


@functools.cache
def _compiled_read() -> Callable:
  """Compiles once per form of the network and number of images."""

  def read(graphdef, exits, state, summaries):
    return nnx.merge(graphdef, state).read(summaries, exits)

  return jax.jit(read, static_argnums=(0, 1))
