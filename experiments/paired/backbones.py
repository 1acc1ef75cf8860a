"""The backbones that the arms of a study share: each is an ordinary run, trained once."""

import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from experiments.paired.jobs import Cell
from experiments.paired.study import Study, backbone_digest
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import train_resolved
from mecl_jax.data import Dataset
from mecl_jax.training.workdir import check_data, read_summary


def trained_backbone(
  study: Study, cell: Cell, folder: pathlib.Path, dataset: Dataset, console: Console
) -> tuple[ConfigDict, pathlib.Path]:
  """Trains the backbone of a setting and a seed, unless any study has trained it already.

  The digest of its configuration identifies it. An interrupted run resumes.

  Args:
    study: with a backbone.
    cell: setting and seed.
    folder: of backbones.
    dataset: of the setting.
    console: to print to.

  Returns:
    the resolved configuration and the work directory of the run.

  Raises:
    UserError, RunError, Interrupted: as `train`.
  """
  plain = resolve(study.backbone_config(*cell))
  name = f'{plain.data.name}-{plain.model.backbone}-{backbone_digest(plain)}'.replace('/', '-')
  workdir = folder / name
  check_data(workdir, dataset)
  summary = read_summary(workdir)
  if summary is None or not summary['complete']:
    train_resolved(plain, workdir, console, dataset, brief=True)
  return plain, workdir


def begun_with(backbone: pathlib.Path, config: ConfigDict) -> ConfigDict:
  """Returns a job's configuration, resolved, with a trained backbone that stays as it is."""
  config.model.pretrained = str(backbone)
  config.phases.backbone.duration = '0 steps'
  return resolve(config)
