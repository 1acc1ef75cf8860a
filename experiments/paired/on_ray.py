"""Runs the shards of a study as tasks of Ray, on one machine or on a cluster."""

import contextlib
import pathlib
from types import ModuleType

from experiments.paired.study import Pairs, Study
from experiments.paired.sweep import sweep
from mecl_jax import compiler
from mecl_jax.errors import UserError
from mecl_jax.training.interruption import Interruption

PASSES = 2  # in the first pass, runs of searched arms wait for the trials of other shards


def sweep_on_ray(
  study: Study,
  name: str,
  folder: pathlib.Path,
  shards: int,
  *,
  data_dir: str = '',
  pairs: Pairs = (),
) -> int:
  """Makes the runs of a study as `sweep` does, with as many shards at once as there is room for.

  Ray uses the cluster that $RAY_ADDRESS names or that runs on this machine, or else starts one
  here. A shard reserves one GPU, if the cluster has any, and one core; this limits the number of
  shards per machine, and not the threads of XLA. Shards are spread evenly over the machines, which
  must have the repository and the study's folder under the same paths.

  Args:
    study, name, folder, data_dir, pairs: as of `sweep`.
    shards: number of parts that the settings and seeds are divided into.

  Returns:
    the number of runs that failed in the last pass.

  Raises:
    UserError: Ray is not installed, or as `sweep`.
    Interrupted: SIGTERM or Ctrl-C; the same call resumes.
  """
  try:
    import ray
  except ImportError:
    raise UserError("--ray needs Ray; pip install -e '.[ray]'") from None
  ray.init(ignore_reinit_error=True)
  with Interruption() as interruption:
    interruption.wait_for_safe_points()
    gpus = 1 if ray.cluster_resources().get('GPU') else 0
    make = ray.remote(num_cpus=1, num_gpus=gpus, scheduling_strategy='SPREAD')(_make)
    arguments = study, name, folder.absolute(), shards, data_dir, pairs
    for _ in range(PASSES):
      try:
        tasks = [make.remote(*arguments, shard) for shard in range(shards)]
        failed = sum(_get(ray, tasks, interruption))
      except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
  return failed


def _get(ray: ModuleType, tasks: list, interruption: Interruption) -> list[int]:
  """Waits for tasks; after a signal, finished runs are on disk, and Ray stops its tasks."""
  while True:
    interruption.check()
    with contextlib.suppress(ray.exceptions.GetTimeoutError):
      return ray.get(tasks, timeout=1)


def _make(
  study: Study,
  name: str,
  folder: pathlib.Path,
  shards: int,
  data_dir: str,
  pairs: Pairs,
  shard: int,
) -> int:
  compiler.use_cache()
  return sweep(study, name, folder, shard, shards, data_dir=data_dir, pairs=pairs)
