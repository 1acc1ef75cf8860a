"""Other runs as teachers: the plain run that is made first, and the networks of runs that ended."""

from collections.abc import Callable
import os
import pathlib

import jax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from ml_collections import ConfigDict
import numpy as np

from mecl_jax import config as config_lib
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.models import MultiExit
from mecl_jax.training import devices
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.run import Run, build_model
from mecl_jax.training.workdir import read_identity, read_summary


def plain_config(config: ConfigDict) -> ConfigDict:
  """The same configuration without curriculum, weights, distillation, or wishes of its own."""
  plain = config.copy_and_resolve_references()
  plain.curriculum.order = 'none'
  plain.curriculum.sample_weights = 'none'
  plain.distillation.weight = 0.0
  plain.curriculum.per_exit = 'shared'
  plain.curriculum.exit_factors, plain.curriculum.exit_pacings = (1.0,), ''
  plain.report.compare_with = ''
  plain.evaluation = config_lib.default().evaluation  # its files are of this run's own exits
  return plain


def make_plain(
  run: Run, train_run: Callable[[ConfigDict, pathlib.Path, Dataset], object]
) -> pathlib.Path:
  """Trains the plain run of a run's configuration, in a work directory inside the run's."""
  workdir = run.workdir / 'teacher'
  run.console.print(f'a plain run comes first and becomes the teacher: {workdir}', soft_wrap=True)
  train_run(plain_config(run.config), workdir, run.dataset)
  return workdir


def load_model(workdir: pathlib.Path, run: Run, *, other_data: bool = False) -> MultiExit:
  """The network of another run, from its newest checkpoint that is whole.

  Args:
    workdir: of the other run.
    run: that asks.
    other_data: whether the other may have learnt from another data set (only its features count).

  Raises:
    UserError: the folder holds no run, or one that saw other data than it may.
  """
  config = config_lib.resolve(config_lib.read(workdir / 'config.json'))
  identity = read_identity(workdir)
  saw, dataset = identity.get('fingerprint'), run.dataset
  if saw != dataset.fingerprint and not other_data:
    raise UserError(
      f'the teacher in {workdir} saw other data than this run: {config.data.name} with fingerprint'
      f' {saw}, not {dataset.name} with {dataset.fingerprint}; are set, label, noise and validation'
      ' cut the same?'
    )
  channels = identity.get('channels', dataset.image_shape[-1])
  if channels != dataset.image_shape[-1]:
    raise UserError(
      f'the teacher in {workdir} takes images of {channels} channels; those of {dataset.name} have'
      f' {dataset.image_shape[-1]}'
    )
  model, position = _restored(
    workdir,
    dataset.image_shape,
    identity.get('num_classes', dataset.num_classes),
    run.pixel_mean,
    run.pixel_std,
    run.mesh,
  )
  if read_summary(workdir) is None:
    run.console.print(f'the teacher in {workdir} has not ended: this is its step {position.total}')
  return model


def load_network(workdir: str | os.PathLike) -> MultiExit:
  """The network of a run with the parameters of its newest checkpoint; no data are needed.

  Raises:
    UserError: the folder holds no run, or no checkpoint that can be read, or nobody has noted yet
      which images the network takes.
  """
  workdir = pathlib.Path(workdir)
  config_lib.read(workdir / 'config.json')  # so that what is no run is told first
  try:
    shape, classes = (read_identity(workdir)[key] for key in ('image_shape', 'num_classes'))
  except KeyError:
    raise UserError(
      f'{workdir} was made by an early version, which did not note the shape of its images;'
      f' --mode=evaluate --workdir={workdir} does'
    ) from None
  # The statistics of the pixels are part of the checkpoint.
  zeros, mesh = np.zeros(shape[-1], np.float32), devices.make_mesh(jax.local_device_count())
  return _restored(workdir, tuple(shape), classes, zeros, zeros + 1, mesh)[0]


def _restored(
  workdir: pathlib.Path,
  image_shape: tuple[int, int, int],
  num_classes: int,
  mean: ArrayLike,
  std: ArrayLike,
  mesh: Mesh,
) -> tuple[MultiExit, Position]:
  """The network of a run from its newest checkpoint, and where that stands.

  Args:
    workdir: of the run.
    image_shape: (height, width, channels) of the images that it takes.
    num_classes: that it tells apart.
    mean, std: per channel; what the network is built with before it is read.
    mesh: whose devices hold it.

  Raises:
    UserError: the folder holds no run, or no checkpoint that can be read.
  """
  config = config_lib.resolve(config_lib.read(workdir / 'config.json'))
  model = build_model(config, image_shape, num_classes, mean, std, mesh)
  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    found = checkpoints.restore(model, devices.replicated(mesh))
  if found is None:
    raise UserError(f'the run in {workdir} has no checkpoint that can be read')
  return model, found[0]
