"""Networks of other runs, read from their checkpoints."""

import logging
import os
import pathlib

import jax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from ml_collections import ConfigDict
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.models import MultiExit
from mecl_jax.training import devices, own_networks
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.run import Run, build_model
from mecl_jax.training.workdir import read_identity, read_run, read_summary

logger = logging.getLogger(__name__)


def load_network(workdir: str | os.PathLike) -> MultiExit:
  """Loads the network of a run, with the parameters of its newest intact checkpoint.

  Args:
    workdir: of the run; its data are not needed.

  Returns:
    the network in evaluation mode, on all local devices.

  Raises:
    UserError: the folder is not the work directory of a run, another version of mecl_jax made it,
      or no checkpoint can be read.
  """
  workdir = pathlib.Path(workdir)
  config, identity = read_run(workdir)
  shape = tuple(identity['image_shape'])
  # The checkpoint holds the pixel statistics.
  zeros, mesh = np.zeros(shape[-1], np.float32), devices.make_mesh(jax.local_device_count())
  return _restored(workdir, config, shape, identity['num_classes'], zeros, zeros + 1, mesh)[0]


def load_network_for(run: Run, workdir: pathlib.Path, *, any_data: bool = False) -> MultiExit:
  """Loads the network of another run, to apply it to the data of this one.

  Args:
    run: this run.
    workdir: of the other run.
    any_data: whether the other may have been trained on another data set, since only its features
      are used.

  Raises:
    UserError: as `load_network`; or the other run saw data that it must not have seen.
  """
  config, identity = read_run(workdir)
  name, dataset = config.data.name, run.dataset
  trained_on = identity['fingerprint']
  if trained_on != dataset.fingerprint and not any_data:
    raise UserError(
      f'the teacher in {workdir} was trained on other data than this run: {name} with fingerprint'
      f' {trained_on}, not {dataset.name} with {dataset.fingerprint}; data set, label, label noise'
      ' and validation cut must be the same'
    )
  channels = identity['channels']
  if channels != dataset.image_shape[-1]:
    raise UserError(
      f'the teacher in {workdir} takes images of {channels} channels; those of {dataset.name} have'
      f' {dataset.image_shape[-1]}'
    )
  model, position = _restored(
    workdir,
    config,
    dataset.image_shape,
    identity['num_classes'],
    run.pixel_mean,
    run.pixel_std,
    run.mesh,
  )
  if read_summary(workdir) is None:
    run.console.print(
      f'the run of the teacher in {workdir} has not ended: its step {position.total} is used'
    )
  return model


def _restored(
  workdir: pathlib.Path,
  config: ConfigDict,
  image_shape: tuple[int, int, int],
  num_classes: int,
  mean: ArrayLike,
  std: ArrayLike,
  mesh: Mesh,
) -> tuple[MultiExit, Position]:
  """Returns the network of a run from its newest checkpoint, and the position of that.

  Args:
    workdir: of the run.
    config: of the run.
    image_shape: (height, width, channels) of the images that the network takes.
    num_classes: number of its classes.
    mean, std: pixel statistics per channel, until those of the checkpoint are read.
    mesh: the devices that hold the network.
  """
  model = build_model(config, image_shape, num_classes, mean, std, mesh)
  if changed := own_networks.check(workdir, config, model, read_identity(workdir)):
    logger.warning('%s', changed)
  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    found = checkpoints.restore(model, devices.replicated(mesh))
  if found is None:
    raise UserError(f'{workdir} has no checkpoint that can be read')
  model.final_must_train = False
  return model, found[0]
