"""Other runs as teachers: the plain run that is made first, and the networks of runs that ended."""

from collections.abc import Callable
import pathlib

from ml_collections import ConfigDict

from mecl_jax import config as config_lib
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.models import MultiExit
from mecl_jax.training import devices
from mecl_jax.training.checkpoints import Checkpoints
from mecl_jax.training.run import Run, build_model
from mecl_jax.training.workdir import read_identity, read_summary


def plain_config(config: ConfigDict) -> ConfigDict:
  """The same configuration without a curriculum, weights that need scores, or distillation."""
  plain = config.copy_and_resolve_references()
  plain.curriculum.order = 'none'
  plain.curriculum.sample_weights = 'none'
  plain.distillation.weight = 0.0
  plain.curriculum.per_exit = 'shared'
  plain.curriculum.exit_factors, plain.curriculum.exit_pacings = (1.0,), ''
  plain.report.compare_with = ''
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
  model = build_model(
    config,
    dataset.image_shape,
    identity.get('num_classes', dataset.num_classes),
    run.pixel_mean,
    run.pixel_std,
    run.mesh,
  )
  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    found = checkpoints.restore(model, devices.replicated(run.mesh))
  if found is None:
    raise UserError(f'the teacher in {workdir} has no checkpoint that can be read')
  if read_summary(workdir) is None:
    run.console.print(f'the teacher in {workdir} has not ended: this is its step {found[0].total}')
  return model
