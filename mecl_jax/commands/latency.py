"""The command `latency`: measures the exits of a run on this device."""

import dataclasses
import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax.commands import run_report
from mecl_jax.commands.outcome import predictions_of, write_outcome
from mecl_jax.commands.session import restored_run
from mecl_jax.data import Dataset, Parts
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.inference import Latency, measure, measure_saving, save_latency
from mecl_jax.report.style import evenly
from mecl_jax.report.tables.latency import latency_table
from mecl_jax.training.log import make_console

# Early exit is timed on at least this many test images, and at least this many batches.
SAVING_IMAGES, SAVING_BATCHES = 512, 4


def latency(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
  data: Dataset | Parts | None = None,
  keep_target: bool = False,
) -> Latency:
  """Measures the latency of a run's exits on this device, and the time that early exit saves.

  A run without predictions of its present position is evaluated first, since the thresholds come
  from its predictions.

  Args:
    workdir: the run's work directory.
    config: as of `evaluate`.
    console: as of `evaluate`.
    data: as of `evaluate`.
    keep_target: as of `evaluate`.

  Returns:
    the measurements, which are also in latency.json and in the report.

  Raises:
    UserError, RunError: as `evaluate`.
  """
  console = console or make_console()
  path = pathlib.Path(workdir)
  opened = restored_run(
    path, config, console, data=data, keep_target=keep_target, measures_latency=True
  )
  with opened as (run, position):
    predictions = predictions_of(run, position)
    settings, path, test = run.config.evaluation, run.workdir / 'latency.json', run.dataset.test

    def on_progress(now: str) -> None:
      run.interruption.check()
      console.print(f'measuring: {now}')

    measured = measure(
      run.model,
      test.images,
      batch_sizes=settings.batch_sizes,
      rules=TASKS[run.config.task].rules,
      on_progress=on_progress,
    )
    save_latency(path, measured)  # a target in milliseconds needs it
    if run_report.has_early_exits(run):
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
