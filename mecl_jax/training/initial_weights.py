"""What a network begins with, if not with fresh parameters: published weights, or another run's."""

from collections.abc import Iterable
import pathlib

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
import numpy as np

from mecl_jax import config as config_lib
from mecl_jax.durations import is_zero, listed
from mecl_jax.errors import UserError
from mecl_jax.models import FINAL, PixelStatistic, pretrained
from mecl_jax.models.pretrained import RUN
from mecl_jax.models.pretrained import is_workdir as _is_run
from mecl_jax.models.pretrained.publishers import FILES, IMAGENET
from mecl_jax.teachers import scoring as teachers
from mecl_jax.training import devices
from mecl_jax.training.checkpoints import Checkpoints
from mecl_jax.training.run import Run
from mecl_jax.training.workdir import read_identity


def preprocessing(model: ConfigDict) -> str:
  """What 'auto' stands for in the `model` part of a configuration."""
  return pretrained.default_preprocessing(model.pretrained, model.backbone)


def check(config: ConfigDict) -> None:
  """Raises UserError for weights that the rest of a configuration does not go with."""
  source, duration = config.model.pretrained, config.phases.backbone.duration
  if config.model.preprocessing == RUN and not _is_run(source):
    raise UserError(
      'model.preprocessing=run treats pixels as another run does: model.pretrained must be the work'
      ' directory of one'
    )
  teacher = config.curriculum.teacher
  if teacher == 'cross_validated' and _is_run(source):
    raise UserError(
      'curriculum.teacher=cross_validated scores examples by networks that have not seen them, and'
      ' the run that model.pretrained names may have; choose another teacher'
    )
  if not is_zero(duration, field='phases.backbone.duration'):
    return
  if not source:
    raise UserError(f'phases.backbone.duration is {duration!r}; it must be above 0')
  if teacher in ('learning_speed', 'cross_validated'):
    raise UserError(
      f'curriculum.teacher={teacher} watches a backbone learn: phases.backbone.duration must be'
      ' above 0'
    )


def check_there(config: ConfigDict) -> None:
  """Raises UserError if there is nothing at the place that `model.pretrained` names."""
  source = config.model.pretrained
  place = pathlib.Path(source).expanduser()
  if _is_run(source):
    if not place.is_dir():
      raise UserError(
        f'model.pretrained is {source!r}; choose imagenet, a file {" or ".join(FILES)}, or the work'
        ' directory of a run'
      )
    config_lib.read(place / 'config.json')  # says so if it is none
  elif source not in ('', IMAGENET) and not place.is_file():
    raise UserError(f'model.pretrained={source}: there is no such file')


def begin(run: Run) -> str:
  """Gives the run's network the weights that `model.pretrained` names, in place.

  Returns:
    for people: what was taken from where, and what stays fresh.

  Raises:
    UserError: they cannot be read or do not fit, or what stays fresh would never be trained.
  """
  settings = run.config.model
  source, skip = settings.pretrained, listed(settings.pretrained_skip)
  if _is_run(source):
    report = pretrained.fit(run.model, _of_run(source, run), skip=skip, source=source)
  else:
    report = pretrained.load(run.model, source, settings.backbone, skip=skip)
  _check_fresh(report.fresh, run)
  parts = sorted({'.'.join(name.split('.')[:2]) for name in report.fresh})  # a head is one part
  fresh = f'; fresh: {", ".join(parts)}' if parts else ''
  return f'{report.taken} arrays from {source}{fresh}{_other_cut(source, run)}'


def _other_cut(source: str, run: Run) -> str:
  """What is to be said of another run that learnt from other examples of the same data set."""
  identity = read_identity(pathlib.Path(source).expanduser()) if _is_run(source) else {}
  ours = run.dataset.name, run.dataset.fingerprint
  if identity.get('name') != ours[0] or identity['fingerprint'] == ours[1]:
    return ''
  return (
    f'; that run had another training split of {ours[0]}: it may have learnt from images that are'
    ' validation here, or with other labels'
  )


def _of_run(source: str, run: Run) -> dict[str, np.ndarray]:
  """The arrays of another run by their names; its pixel statistics too, if they are wanted."""
  workdir = pathlib.Path(source).expanduser()
  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    state = checkpoints.arrays(devices.replicated(run.mesh))
  if state is None:
    raise UserError(f'the run in {source} has no checkpoint that can be read')
  if run.config.model.preprocessing == RUN:
    _take_pixel_statistics(state, source, run)
  layers = flatten_dict({part: state[part] for part in ('backbone', 'heads')})
  return {pretrained.name_of(path): np.asarray(array) for path, array in layers.items()}


def _take_pixel_statistics(state: dict, source: str, run: Run) -> None:
  for name in ('mean', 'std'):
    mine: PixelStatistic = getattr(run.model, name)
    if len(state[name]) not in (1, len(mine)):
      raise UserError(
        f'the run in {source} takes images of {len(state[name])} channels, and here it is'
        f' {len(mine)}; gray images get more by model.input_channels'
      )
    mine[...] = np.broadcast_to(state[name], mine.shape)


def _check_fresh(names: Iterable[str], run: Run) -> None:
  """Raises UserError for parts of the backbone or classifier that nobody trains in time."""
  asked_first = run.plans[0].phase.curriculum and teachers.wanted(run.config)
  trained = {prefix for plan in run.plans for prefix in plan.phase.trainable}
  if asked_first and teachers.waits_for_backbone(run.config):
    # The network scores the examples as it came; only early exits have no part in that.
    trained = {('heads', name) for name in run.model.exit_names if name != FINAL}
  lost = [name for name in names if not _covered(name, trained)]
  if lost:
    raise UserError(
      f'{run.config.model.pretrained} has no weights that fit {lost[0]}, and no phase would train'
      ' it before it is used: phases.backbone.duration must be above 0'
    )


def _covered(name: str, prefixes: Iterable[tuple[str, ...]]) -> bool:
  path = tuple(name.split('.'))
  path = path if path[0] == 'heads' else ('backbone', 'stages', *path)
  return any(path[: len(prefix)] == prefix for prefix in prefixes)
