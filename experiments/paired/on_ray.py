"""A study's shards as tasks of Ray, on one machine or on a cluster."""

import pathlib

from experiments.paired.study import Study
from experiments.paired.sweep import sweep
from mecl_jax import compiler
from mecl_jax.errors import UserError
from mecl_jax.training.interruption import Interruption

PASSES = 2  # runs of searched arms wait for the trials of all shards; the table is whole at last


def sweep_on_ray(
  study: Study, name: str, folder: pathlib.Path, shards: int, *, data_dir: str = ''
) -> int:
  """Makes the runs of a study as `sweep`, all shards at once as far as there is room for them.

  Ray takes the cluster that $RAY_ADDRESS names or that runs on this machine, or else begins one
  here. A shard asks for a GPU where Ray knows of any, and for one core, which is how many shards a
  machine takes at a time, not how many threads XLA has there. Machines are filled evenly. All see
  the repository and the study's folder under the same paths.

  Args:
    study, name, folder, data_dir: as `sweep` has them.
    shards: how many parts the settings and seeds are divided into.

  Returns:
    how many runs failed, when they were last tried.

  Raises:
    UserError: Ray is not installed, or what `sweep` says of a shard.
    Interrupted: SIGTERM or Ctrl-C; the same call goes on.
  """
  try:
    import ray
  except ImportError:
    raise UserError("--ray needs Ray; pip install -e '.[ray]'") from None
  ray.init(ignore_reinit_error=True)
  with Interruption():  # ends the wait; what has ended is on disk, and Ray stops its tasks
    gpus = 1 if ray.cluster_resources().get('GPU') else 0
    make = ray.remote(num_cpus=1, num_gpus=gpus, scheduling_strategy='SPREAD')(_make)
    what = study, name, folder.absolute(), shards, data_dir
    for _ in range(PASSES):
      try:
        failed = sum(ray.get([make.remote(*what, shard) for shard in range(shards)]))
      except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
  return failed


def _make(
  study: Study, name: str, folder: pathlib.Path, shards: int, data_dir: str, shard: int
) -> int:
  compiler.use_cache()
  return sweep(study, name, folder, shard, shards, data_dir=data_dir)
