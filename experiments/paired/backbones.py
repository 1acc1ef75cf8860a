"""The backbones that the arms of a study share: each is an ordinary plain run, made once."""

import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from experiments.paired.jobs import Cell
from experiments.paired.study import Study
from mecl_jax import config as config_lib
from mecl_jax.commands import train
from mecl_jax.data import Dataset
from mecl_jax.training.workdir import check_data, read_summary


def trained_backbone(
  study: Study, cell: Cell, folder: pathlib.Path, dataset: Dataset, console: Console
) -> tuple[ConfigDict, pathlib.Path]:
  """The run that trained the backbone of a setting and a seed: its configuration and folder.

  One that is there already, by the digest of its configuration, is not made again, in whichever
  study it was made; one that was interrupted goes on.

  Args:
    study: that has a backbone.
    cell: setting and seed.
    folder: of backbones.
    dataset: of the setting.
    console: to print to.

  Raises: as `train.train`.
  """
  plain = config_lib.resolve(study.backbone_config(*cell))
  name = f'{plain.data.name}-{plain.model.backbone}-{config_lib.digest(plain)}'.replace('/', '-')
  workdir = folder / name
  check_data(workdir, dataset)
  summary = read_summary(workdir)
  if summary is None or not summary['complete']:
    train.train(plain, workdir, console=console, dataset=dataset, brief=True)
  return plain, workdir


def begun_with(backbone: pathlib.Path, config: ConfigDict) -> ConfigDict:
  """A job's configuration, resolved, of a run that begins with a trained backbone as it is."""
  config.model.pretrained = str(backbone)
  config.phases.backbone.duration = '0 steps'
  return config_lib.resolve(config)
