"""Runs that train whole networks: ordinary runs, each in its own work directory."""

import pathlib

from rich.console import Console

from experiments.paired.backbones import begun_with, trained_backbone
from experiments.paired.jobs import Cell, Job
from experiments.paired.measures import Measures, measure
from experiments.paired.study import Study
from experiments.paired.table import TRIAL
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import train_resolved
from mecl_jax.data import Dataset
from mecl_jax.evaluation import load_predictions, predicted
from mecl_jax.evaluation.predictions import TEST, VALIDATION
from mecl_jax.training.networks import load_network
from mecl_jax.training.workdir import read_identity


class WholeNetworks:
  """Trains the networks of jobs; an interrupted run resumes.

  A network starts with the backbone that the study trains for the setting and the seed, or, if the
  study has none, with random parameters.

  Args:
    study: of the jobs.
    cell: setting and seed.
    folder: of the study; a run is kept in `runs/<its digest>` there.
    backbones: folder of backbones, which studies share.
    dataset: of the setting.
    console: to print to.

  Attributes:
    digest: of the run that trained the backbone; '' without one.

  Raises:
    UserError, RunError, Interrupted: as `trained_backbone`.
  """

  def __init__(
    self,
    study: Study,
    cell: Cell,
    folder: pathlib.Path,
    backbones: pathlib.Path,
    dataset: Dataset,
    console: Console,
  ):
    self._study, self._folder = study, folder / 'runs'
    self._dataset, self._console = dataset, console
    self._backbone, self.digest = None, ''
    if study.backbone is not None:
      _, self._backbone = trained_backbone(study, cell, backbones, dataset, console)
      self.digest = read_identity(self._backbone)['digest']

  def run(self, job: Job) -> Measures:
    """Trains the network of a job, and measures it."""
    workdir = self._folder / job.digest(self._study)
    (config,), dataset = job.configs(self._study), self._dataset
    config = resolve(config) if self._backbone is None else begun_with(self._backbone, config)
    train_resolved(config, workdir, self._console, dataset, brief=True)
    predictions = load_predictions(workdir / 'predictions.npz')
    names = (VALIDATION,) if job.kind == TRIAL else (VALIDATION, TEST)
    splits = [predicted(predictions, name) for name in names]
    return measure(load_network(workdir), dataset.image_shape, *splits)
