"""Runs that train whole networks: ordinary runs of the program, each in a folder of its own."""

import pathlib

from rich.console import Console

from experiments.paired.backbones import begun_with, trained_backbone
from experiments.paired.jobs import Cell, Job
from experiments.paired.measures import Measures, measure
from experiments.paired.study import Study
from mecl_jax.commands import train
from mecl_jax.data import Dataset
from mecl_jax.evaluation import load_predictions, predicted
from mecl_jax.evaluation.predictions import TEST, VALIDATION
from mecl_jax.teachers import other_runs
from mecl_jax.training.workdir import read_identity


class WholeNetworks:
  """Trains the networks of jobs; one that was interrupted goes on.

  They begin with the backbone that the study trains for a setting and a seed, or, if it has none,
  from the beginning.

  Args:
    study: that the jobs are of.
    cell: setting and seed.
    folder: of the study; a run is kept in `runs/<its digest>` there.
    backbones: folder of backbones, which studies share.
    dataset: of the setting.
    console: to print to.

  Attributes:
    digest: of the run that trained the backbone; '' where there is none.

  Raises: as `trained_backbone`.
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
    """Trains a network as a job says. Raises as `training.train.train`."""
    workdir = self._folder / job.digest(self._study)
    (config,), dataset = job.configs(self._study), self._dataset
    if self._backbone is not None:
      config = begun_with(self._backbone, config)
    train.train(config, workdir, console=self._console, dataset=dataset, brief=True)
    said = load_predictions(workdir / 'predictions.npz')
    splits = [predicted(said, name) for name in (VALIDATION, TEST)]
    return measure(other_runs.load_network(workdir), dataset.image_shape, *splits)
