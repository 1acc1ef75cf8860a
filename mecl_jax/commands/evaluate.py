"""A run that is there, looked at again: what its exits are worth, and how long they take."""

from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax import config as config_lib
from mecl_jax.commands import run_report
from mecl_jax.commands.outcome import predict_splits, predictions_of, write_outcome
from mecl_jax.errors import RunError
from mecl_jax.inference import Latency, measure, measure_saving, save_latency
from mecl_jax.report.style import evenly
from mecl_jax.report.tables.latency import latency_table
from mecl_jax.training import devices
from mecl_jax.training import workdir as workdirs
from mecl_jax.training.checkpoints import Checkpoints, Position
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.log import make_console
from mecl_jax.training.run import Run, open_run

# Of the test split, on which early exit is timed at a batch size: so many, and batches at least.
SAVING_IMAGES, SAVING_BATCHES = 512, 4


def evaluate(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
) -> dict[str, Any]:
  """Evaluates the newest checkpoint of a run and writes its report anew.

  Args:
    workdir: the run's work directory.
    config: must be the run's, but for the fields that may change between two starts, such as
      `evaluation` and where the data lie; None: the run's.
    console: to print to.

  Returns:
    the summary, as in summary.json; its `complete` says whether training had ended.

  Raises:
    UserError: the folder holds no run, its data cannot be loaded, or `evaluation` wishes for what
      no operating point meets.
    RunError: no checkpoint can be read.
  """
  with _reopened(pathlib.Path(workdir), config, console or make_console()) as (run, position):
    return write_outcome(run, position, predict_splits(run))


def latency(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
) -> Latency:
  """Measures how long the exits of a run take on this device, and what leaving early saves.

  A run that has not been evaluated where its training stands now is evaluated first: what leaves
  where is up to thresholds, which come from its predictions.

  Args: as of `evaluate`.

  Returns:
    what is also in latency.json and, besides, in the report.

  Raises: as `evaluate`.
  """
  console = console or make_console()
  with _reopened(pathlib.Path(workdir), config, console) as (run, position):
    predictions = predictions_of(run, position)
    settings, path, test = run.config.evaluation, run.workdir / 'latency.json', run.dataset.test

    def on_progress(now: str) -> None:
      run.interruption.check()
      console.print(f'measuring: {now}')

    measured = measure(
      run.model, test.images, batch_sizes=settings.batch_sizes, on_progress=on_progress
    )
    save_latency(path, measured)  # for wishes in milliseconds
    if run_report.can_leave_early(run):
      policy = run_report.choose(run, predictions).chosen.point.policy
      savings = [
        measure_saving(
          run.model,
          policy,
          evenly(test.images, max(SAVING_IMAGES, SAVING_BATCHES * batch)),
          batch_size=batch,
          on_progress=on_progress,
        )
        for batch in sorted({min(settings.batch_sizes), max(settings.batch_sizes)})
        if batch <= len(test)
      ]
      measured = dataclasses.replace(measured, savings=savings, policy=policy.digest)
      save_latency(path, measured)
    console.print(latency_table(measured))
    write_outcome(run, position, predictions)
    return measured


@contextlib.contextmanager
def _reopened(
  workdir: pathlib.Path, config: ConfigDict | None, console: Console
) -> Iterator[tuple[Run, Position]]:
  """A run with its newest checkpoint, and where that stands; the work directory is held."""
  own = config_lib.resolve(config_lib.read(workdir / 'config.json'))
  if config is not None:
    config = config_lib.resolve(config)
    workdirs.check_config(workdir, config)
    own = config_lib.with_free_fields(own, config)
  with workdirs.claim(workdir), Interruption() as interruption:
    run = open_run(own, workdir, console, interruption)
    workdirs.check_data(workdir, run.dataset)
    workdirs.note_data(workdir, run.dataset, run.digest)
    run_report.check(run)
    saved = Checkpoints(workdir / 'checkpoints', run=run.digest, read_only=True)
    with saved as checkpoints:
      found = checkpoints.restore(run.model, devices.replicated(run.mesh))
    if found is None:
      raise RunError(f'{workdir} has no checkpoint that can be read; --mode=train makes them')
    yield run, found[0]
