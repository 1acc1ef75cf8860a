"""A run that is set up: configuration, data, network, and the plan of its phases."""

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
from mecl_jax.data import Dataset, Parts
from mecl_jax.data.labels import CLASSES
from mecl_jax.errors import UserError
from mecl_jax.evaluation.tasks import TASKS
from mecl_jax.models import ExitCost, MultiExit, pretrained
from mecl_jax.training import devices, own_networks
from mecl_jax.training.interruption import Interruption
from mecl_jax.training.log import counted, doing
from mecl_jax.training.plan import PhasePlan, make_plan
from mecl_jax.training.workdir import has_checkpoints, read_identity

_OF_WEIGHTS = (
  'pretrained',
  'pretrained_skip',
  'frozen',
  'preprocessing',
)  # not of `models.build`


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """A run that is set up; only the model's state changes, in place.

  Attributes:
    config: resolved.
    workdir: locked by this process.
    dataset: images of the user's own may stay in a file.
    pixel_mean, pixel_std: float [channels] of the training split, pixels in 0..1.
    model: its state lies on every device of the mesh.
    mesh: over the local devices.
    plans: of the phases.
    console: to print to.
    interruption: holds a request to stop.
    opened: `time.monotonic()` when the run was set up.
    profile: whether a few steps of each phase are traced, see `profile.profiled`.
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
  profile: bool = False

  @functools.cached_property
  def own_network(self) -> dict[str, str]:
    """Returns `own_networks.facts` with the initial parameters; read before training."""
    return own_networks.facts(self.config, self.model, self.dataset.image_shape)

  @functools.cached_property
  def digest(self) -> str:
    """Returns a digest of the configuration and data of this run."""
    if kept := read_identity(self.workdir).get('digest'):
      return kept
    own = self.own_network.values()
    return config_lib.digest(self.config, self.dataset.fingerprint, *own)


def set_up_run(
  config: ConfigDict,
  workdir: pathlib.Path,
  console: Console,
  interruption: Interruption,
  dataset: Dataset | Parts | None = None,
) -> Run:
  """Loads the data, builds the network with initial parameters, and plans the phases.

  Args:
    config: resolved.
    workdir: of the run.
    console: to print to.
    interruption: holds a request to stop.
    dataset: already loaded, or its parts; None: loaded as the configuration says.

  Raises:
    UserError: the data cannot be loaded, or do not fit the configuration.
  """
  opened, mesh = time.monotonic(), devices.make_mesh(config.batch_size)
  dataset = load_dataset(config, console, dataset)
  _check_augmentation(config, dataset)
  with doing(console, f'building {config.model.backbone}'):
    mean, std = data.channel_statistics(dataset.train.images)
    model = build_model(config, dataset.image_shape, dataset.num_classes, mean, std, mesh)
    models.fit_to_images(model, dataset.train.images)
    if model.standardised and not _has_unit(model):
      _standardise(model, dataset.train.labels)
  plans = make_plan(
    config, model.exit_names, model.segments, len(dataset.train), dataset.num_classes
  )
  if not has_checkpoints(workdir):
    own_networks.check_final(config, model, {p for plan in plans for p in plan.phase.trainable})
  return Run(config, workdir, dataset, mean, std, model, mesh, plans, console, interruption, opened)


def load_dataset(config: ConfigDict, console: Console, dataset: Dataset | Parts | None) -> Dataset:
  """Returns the data set of a run.

  Args:
    config, console, dataset: as of `set_up_run`.

  Raises:
    UserError: the data cannot be loaded, or their labels do not fit the task.
  """
  task = TASKS[config.task]
  if not isinstance(dataset, Dataset):
    return _load(config, console, dataset, task.labels)
  if dataset.kind != task.labels or (dataset.train.labels.ndim > 1) != (task.labels != CLASSES):
    raise UserError(
      f'task={task.name} needs a data set with labels of kind {task.labels}; those of'
      f' {dataset.name} are {dataset.kind}, {list(dataset.train.labels.shape)}'
    )
  return dataset


def _load(config: ConfigDict, console: Console, parts: Parts | None, kind: str) -> Dataset:
  others = ('placement', 'image_size')  # fields of the source and the network
  fields = {key: value for key, value in config.data.items() if key not in others}
  if config.data.folder:  # it shows bars of its own, and a terminal one at a time
    show = functools.partial(counted, console)
    return data.load(**fields, parts=parts, kind=kind, show=show)
  with doing(console, f'loading {config.data.name}'):
    return data.load(**fields, parts=parts, kind=kind)


def _has_unit(model: MultiExit) -> bool:
  """Returns whether the heads of a network predict in a unit already, as those of another run."""
  return bool((model.target_mean[...] != 0).any() or (model.target_std[...] != 1).any())


def _standardise(model: MultiExit, labels: np.ndarray) -> None:
  """Puts mean and standard deviation of the training targets [N, outputs] into a network."""
  deviation = labels.std(axis=0, dtype=np.float64)
  values = labels.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0)
  for variable, value in zip((model.target_mean, model.target_std), values, strict=True):
    variable[...] = jax.device_put(value.astype(variable.dtype), variable[...].sharding)


def outline_run(
  config: ConfigDict,
  workdir: pathlib.Path,
  console: Console,
  interruption: Interruption,
  dataset: Dataset,
) -> Run:
  """Sets up a run that can be described and not trained, since its images are blank.

  Args:
    config, workdir, console, interruption: as of `set_up_run`.
    dataset: from `data.known.blank`; without training images there is no plan of the phases.

  Raises:
    UserError: the network does not fit the images.
  """
  opened, mesh = time.monotonic(), devices.make_mesh(config.batch_size)
  _check_augmentation(config, dataset)
  mean = np.zeros(dataset.image_shape[-1], np.float32)
  with doing(console, f'building {config.model.backbone}'):
    model = build_model(config, dataset.image_shape, dataset.num_classes, mean, mean + 1, mesh)
  size = len(dataset.train)
  plans = (
    make_plan(config, model.exit_names, model.segments, size, dataset.num_classes) if size else ()
  )
  return Run(
    config, workdir, dataset, mean, mean + 1, model, mesh, plans, console, interruption, opened
  )


def _check_augmentation(config: ConfigDict, dataset: Dataset) -> None:
  side = min(dataset.image_shape[:2])
  for field in ('crop', 'cutout'):
    if config.augment[field] > side:
      raise UserError(
        f'augment.{field} is {config.augment[field]}; it must be at most {side}, the side of the'
        ' images in pixels'
      )


def build_model(
  config: ConfigDict,
  image_shape: tuple[int, int, int],
  num_classes: int,
  mean: ArrayLike,
  std: ArrayLike,
  mesh: Mesh,
) -> MultiExit:
  """Builds the network of a configuration, with initial parameters, on every device.

  Args:
    config: resolved.
    image_shape: (height, width, channels) of the images.
    num_classes: of the data set.
    mean, std: per channel, pixels in 0..1. With `model.preprocessing=run` they are replaced later,
      by those of a checkpoint or of that run.
    mesh: the devices.

  Raises:
    UserError: the network does not fit the images.
  """
  model = _build(config, image_shape, num_classes, mean, std)
  nnx.update(model, jax.device_put(nnx.state(model), devices.replicated(mesh)))
  return model


def costs_without_data(
  config: ConfigDict, image_shape: tuple[int, int, int], num_classes: int
) -> tuple[ExitCost, ...]:
  """Returns the costs of the exits of a network; computes none of its parameters.

  Args:
    config, image_shape, num_classes: as of `build_model`.

  Raises:
    UserError: as `build_model`.
  """
  zeros = np.zeros(image_shape[-1], np.float32)
  network = nnx.eval_shape(lambda: _build(config, image_shape, num_classes, zeros, zeros + 1))
  return models.exit_costs(network, image_shape)


def _build(
  config: ConfigDict,
  image_shape: tuple[int, int, int],
  num_classes: int,
  mean: ArrayLike,
  std: ArrayLike,
) -> MultiExit:
  own = {key: value for key, value in config.model.items() if key not in _OF_WEIGHTS}
  wanted, channels = config.model.preprocessing, config.model.input_channels or image_shape[-1]
  if wanted in pretrained.STYLES:
    if channels != 3:
      raise UserError(
        f'model.preprocessing={wanted} needs 3 channels and the images have {channels}; set'
        ' model.input_channels=3 for gray images'
      )
    mean, std = map(np.array, pretrained.STYLES[wanted])
  elif wanted == pretrained.RUN:  # that run may have one value for each channel
    mean, std = np.broadcast_to(mean, channels), np.broadcast_to(std, channels)
  return models.build(
    **own,
    image_size=config.data.image_size,
    num_classes=num_classes,
    image_shape=image_shape,
    mean=mean,
    std=std,
    seed=config.seed,
    standardised=not TASKS[config.task].shown.is_share,
  )
