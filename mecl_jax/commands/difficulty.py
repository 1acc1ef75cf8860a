"""The command `difficulty`: scores the training images of a run, and draws them."""

import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax.commands import curriculum_report, session
from mecl_jax.commands.resolve import resolve
from mecl_jax.commands.train import teacher_trainer
from mecl_jax.commands.train_phases import train_phases
from mecl_jax.curriculum import Difficulty
from mecl_jax.data import Dataset, Parts, check_argument
from mecl_jax.training.log import make_console
from mecl_jax.training.workdir import read_config


def score_difficulty(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  console: Console | None = None,
  data: Dataset | Parts | None = None,
) -> Difficulty:
  """Scores the training examples of a run, and draws them with the pacing.

  What the teacher needs is trained first, at most up to the end of the run's own backbone; `train`
  resumes from there. Nothing that was done before is repeated.

  Args:
    workdir: the run's work directory.
    config: of the run; None: that of the run in `workdir`.
    console: to print to; None: standard output.
    data: from `from_source` or `load_data`; None: loaded as the configuration says.

  Returns:
    the difficulty of every training example, which is also in difficulty.npz.

  Raises:
    UserError, RunError, Interrupted: as `train`.
  """
  check_argument(data)
  workdir, console = pathlib.Path(workdir), console or make_console()
  own = read_config(workdir) if config is None else resolve(config, given=isinstance(data, Parts))
  with session.hold(workdir, own) as interruption:
    run = session.open_run(own, workdir, console, interruption, data)
    session.start(run)
    train_phases(run, teacher_trainer(console), until_scored=True)
    difficulty = Difficulty.load(workdir / 'difficulty.npz')
    curriculum_report.write(run, workdir / 'report')
    console.print(f'scores and pictures: {workdir}; --mode=train trains the rest', soft_wrap=True)
    return difficulty
