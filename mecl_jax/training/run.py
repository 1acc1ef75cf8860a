"""What all parts of a run share, and how it is set up."""

import dataclasses
import functools
import pathlib
import time

from flax import nnx
import jax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from ml_collections import ConfigDict
import numpy as np
from rich.console import Console

from mecl_jax import config as config_lib
from mecl_jax import data, models
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.models import MultiExit, pretrained
from mecl_jax.training import devices
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.plan import PhasePlan, make_plan
from mecl_jax.training.workdir import read_identity

PREPROCESSING, RUN = pretrained.PREPROCESSING, pretrained.RUN

_OF_WEIGHTS = ('pretrained', 'pretrained_skip', 'preprocessing')  # what a network does not ask for


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """A run that is set up; only the model's state changes, in place.

  Attributes:
    config: resolved.
    workdir: held by this process.
    dataset: in memory.
    pixel_mean, pixel_std: per channel of the training split, pixels in 0..1.
    model: its state lies on every device of the mesh.
    mesh: over the local devices.
    plans: of the phases.
    console: to print to.
    interruption: whether a stop was asked for.
    opened: `time.monotonic()` when it was set up.
  """

  config: ConfigDict
  workdir: pathlib.Path
  dataset: Dataset
  pixel_mean: np.ndarray
  pixel_std: np.ndarray
  model: MultiExit
  mesh: Mesh
  plans: tuple[PhasePlan, ...]
  console: Console
  interruption: Interruption
  opened: float

  @functools.cached_property
  def digest(self) -> str:
    """Of what the run computes: its configuration and its data."""
    kept = read_identity(self.workdir).get('digest')
    return kept or config_lib.digest(self.config, self.dataset.fingerprint)


def open_run(
  config: ConfigDict,
  workdir: pathlib.Path,
  console: Console,
  interruption: Interruption,
  dataset: Dataset | None = None,
) -> Run:
  """Loads the data, builds the network with fresh parameters and plans the phases.

  Raises:
    UserError: any of it cannot be done as the configuration says.
  """
  opened = time.monotonic()
  mesh = devices.make_mesh(config.batch_size)
  if dataset is None:
    later = ('placement', 'image_size')  # where the images go, and what the network makes of them
    dataset = data.load(**{key: v for key, v in config.data.items() if key not in later})
  side = min(dataset.image_shape[:2])
  for field in ('crop', 'cutout'):
    if config.augment[field] > side:
      raise UserError(f'augment.{field} is {config.augment[field]}; the images are {side} pixels')
  mean, std = data.channel_statistics(dataset.train.images)
  model = build_model(config, dataset.image_shape, dataset.num_classes, mean, std, mesh)
  plans = make_plan(
    config, model.exit_names, model.segments, len(dataset.train), dataset.num_classes
  )
  return Run(config, workdir, dataset, mean, std, model, mesh, plans, console, interruption, opened)


def build_model(
  config: ConfigDict,
  image_shape: tuple[int, int, int],
  num_classes: int,
  mean: ArrayLike,
  std: ArrayLike,
  mesh: Mesh,
) -> MultiExit:
  """The network of a configuration, with fresh parameters, on every device.

  With `model.preprocessing=run`, too, pixels are normalised by `mean` and `std` until other
  statistics are read, from a checkpoint or from that run.
  """
  own = {key: value for key, value in config.model.items() if key not in _OF_WEIGHTS}
  wanted, channels = config.model.preprocessing, config.model.input_channels or image_shape[-1]
  if wanted in pretrained.STYLES:
    if channels != 3:
      raise UserError(
        f'model.preprocessing={wanted} is for red, green and blue; gray images get them by'
        ' model.input_channels=3'
      )
    mean, std = map(np.array, pretrained.STYLES[wanted])
  elif wanted == RUN:  # which may have one for each of the channels
    mean, std = np.broadcast_to(mean, channels), np.broadcast_to(std, channels)
  model = models.build(
    **own,
    image_size=config.data.image_size,
    num_classes=num_classes,
    image_shape=image_shape,
    mean=mean,
    std=std,
    seed=config.seed,
  )
  nnx.update(model, jax.device_put(nnx.state(model), devices.replicated(mesh)))
  return model
