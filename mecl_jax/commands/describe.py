"""The command `describe`: prints a run stage by stage, and draws its network."""

from collections.abc import Sequence
import pathlib

from ml_collections import ConfigDict
from rich.console import Console

from mecl_jax.commands import overview, session
from mecl_jax.commands.resolve import resolve
from mecl_jax.data.known import Known, blank, known
from mecl_jax.errors import UserError
from mecl_jax.evaluation.tasks import CLASSIFICATION
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.log import make_console
from mecl_jax.training.run import Run, outline_run
from mecl_jax.training.workdir import read_config, read_identity

WITHOUT_DATA = (
  'or give --images=HEIGHTxWIDTHxCHANNELS and --classes=NUMBER, as 224x224x3 and 1000, to describe'
  ' the network without its data'
)


def describe(
  workdir: str | pathlib.Path,
  config: ConfigDict | None = None,
  *,
  images: Sequence[int] | None = None,
  classes: int | None = None,
  console: Console | None = None,
) -> pathlib.Path:
  """Prints what a run is or would be, stage by stage, and draws its network.

  The data are not needed if the data set is a published one with known sizes, if the work directory
  holds a run, or if `images` and `classes` are given.

  Args:
    workdir: for the picture; need not hold a run if there is a `config`.
    config: of the run; None: that of the run in `workdir`.
    images: (height, width, channels) of the images; None: those of the data.
    classes: number of classes; None: that of the data.
    console: to print to; None: standard output.

  Returns:
    the path of the picture.

  Raises:
    UserError: the configuration or the data cannot be used.
  """
  workdir, console = pathlib.Path(workdir), console or make_console()
  own = read_config(workdir) if config is None else resolve(config)
  facts = _given(own, images, classes)
  with session.hold(workdir, own) as interruption:
    run = _open(own, workdir, console, interruption, facts)
    overview.print_run(run)
    overview.print_stages(run)
    path = overview.draw(run, workdir / 'report')
    console.print(f'picture: {path}', soft_wrap=True)
    return path


def _given(config: ConfigDict, images: Sequence[int] | None, classes: int | None) -> Known | None:
  """Returns the shape of the data from the arguments, or of a published set, else None."""
  if (images is None) != (classes is None):
    raise UserError('give both --images and --classes, or none of them')
  if images is not None and classes is not None:
    fewest = 2 if config.task == CLASSIFICATION.name else 1  # or one number
    fits = len(images) == 3 and min(images) > 0 and max(images) <= 2**15
    if not fits or not fewest <= classes < 2**31:
      raise UserError(
        f'--images is {"x".join(map(str, images))} and --classes is {classes}; --images must be'
        f' height x width x channels, as 32x32x3, and --classes at least {fewest}'
      )
    height, width, channels = images
    return Known((height, width, channels), classes, 0, 0)
  if config.data.arrays or config.data.folder:
    return None
  return known(config.data.name, config.data.label, config.data.train_split, config.data.test_split)


def _open(
  config: ConfigDict,
  workdir: pathlib.Path,
  console: Console,
  interruption: Interruption,
  facts: Known | None,
) -> Run:
  """Opens the run with its data, or an outline of it without."""
  if facts is None:
    try:
      return session.open_run(config, workdir, console, interruption)
    except UserError as error:
      identity = read_identity(workdir)
      if not identity:
        raise UserError(f'{error}; {WITHOUT_DATA}') from None
      console.print(f'the data are not used: {error}', soft_wrap=True, markup=False)
      facts = Known(tuple(identity['image_shape']), identity['num_classes'], 0, 0)
  dataset = blank(config.data.name, facts, config.data.validation_size)
  return outline_run(config, workdir, console, interruption, dataset)
