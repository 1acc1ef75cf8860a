"""The command `evaluate`: measures the exits of a run again, and writes its report."""

import pathlib
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax.commands.outcome import predictions_of, write_outcome
from mecl_jax.commands.session import restored_run
from mecl_jax.data import Dataset, Parts
from mecl_jax.training.log import make_console


def evaluate(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
  data: Dataset | Parts | None = None,
  keep_target: bool = False,
) -> dict[str, Any]:
  """Evaluates the newest checkpoint of a run and writes its report again.

  The predictions in predictions.npz are used if they are of this checkpoint, so that a report for
  another target takes seconds. The earlier report stays until the new one is whole.

  Args:
    workdir: the run's work directory.
    config: that of the run, except for fields that may change between two starts, such as
      `evaluation` and the place of the data; None: that of the run.
    console: to print to; None: standard output.
    data: from `from_source` or `load_data`, for a run that was trained on them; None: loaded as the
      configuration says.
    keep_target: keep the target of the last evaluation; always without `config`.

  Returns:
    the summary, as in summary.json; its `complete` says whether training has ended.

  Raises:
    UserError: the folder is not the work directory of a run, its data cannot be loaded, or no
      operating point meets the target in `evaluation`.
    RunError: no checkpoint can be read.
  """
  console = console or make_console()
  opened = restored_run(pathlib.Path(workdir), config, console, data=data, keep_target=keep_target)
  with opened as (run, position):
    return write_outcome(run, position, predictions_of(run, position))
