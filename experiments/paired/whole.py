"""Runs that share no backbone: each is an ordinary run of the program, in a folder of its own."""

import pathlib

from rich.console import Console

from experiments.paired.jobs import Job
from experiments.paired.measures import Measures, measure
from experiments.paired.study import Study
from mecl_jax.data import Dataset
from mecl_jax.evaluation import load_predictions, predicted
from mecl_jax.evaluation.predictions import TEST, VALIDATION
from mecl_jax.training import other_runs, train


class WholeNetworks:
  """Trains the networks of jobs from the beginning; one that was interrupted goes on.

  Args:
    study: that the jobs are of.
    folder: of the study; a run is kept in `runs/<its digest>` there.
    dataset: of the setting.
    console: to print to.
  """

  digest = ''  # of a shared backbone: there is none

  def __init__(self, study: Study, folder: pathlib.Path, dataset: Dataset, console: Console):
    self._study, self._folder = study, folder / 'runs'
    self._dataset, self._console = dataset, console

  def run(self, job: Job) -> Measures:
    """Trains a network as a job says. Raises as `training.train.train`."""
    workdir = self._folder / job.digest(self._study)
    (config,), dataset = job.configs(self._study), self._dataset
    train.train(config, workdir, console=self._console, dataset=dataset, brief=True)
    said = load_predictions(workdir / 'predictions.npz')
    splits = [predicted(said, name) for name in (VALIDATION, TEST)]
    return measure(other_runs.load_network(workdir), dataset.image_shape, *splits)
