"""Initial weights of a network: published ones, or those of another run."""

from collections.abc import Iterable

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
import numpy as np

from mecl_jax.durations import is_zero, listed
from mecl_jax.errors import UserError
from mecl_jax.files import expanded
from mecl_jax.models import FINAL, PixelStatistic, pretrained
from mecl_jax.models.multi_exit import TargetStatistic
from mecl_jax.models.own.factories import GIVEN, is_own
from mecl_jax.models.pretrained import RUN, is_workdir
from mecl_jax.models.pretrained.publishers import FILES, IMAGENET
from mecl_jax.training import devices
from mecl_jax.training.checkpoints import Checkpoints
from mecl_jax.training.run import Run
from mecl_jax.training.strategies import needs_scores, scores_own_backbone
from mecl_jax.training.workdir import read_identity, read_run


def check(config: ConfigDict) -> None:
  """Checks the fields of the initial weights against the others.

  Raises:
    UserError: they cannot be used together.
  """
  source, duration = config.model.pretrained, config.phases.backbone.duration
  if config.model.preprocessing == RUN and not is_workdir(source):
    raise UserError(
      'model.preprocessing=run normalises pixels as another run: model.pretrained must be its work'
      ' directory'
    )
  teacher = config.curriculum.teacher
  if teacher == 'cross_validated' and config.model.backbone.startswith(GIVEN):
    raise UserError(
      'curriculum.teacher=cross_validated needs networks that were not trained on the examples, but'
      ' the network that was given in Python may have been; choose another teacher'
    )
  if teacher == 'cross_validated' and is_workdir(source):
    raise UserError(
      'curriculum.teacher=cross_validated needs networks that were not trained on the examples, but'
      ' the run in model.pretrained may have been; choose another teacher'
    )
  if not is_zero(duration, field='phases.backbone.duration'):
    return
  if not source and not is_own(config.model.backbone):
    raise UserError(f'phases.backbone.duration is {duration!r}; it must be above 0')
  if teacher in ('learning_speed', 'cross_validated'):
    raise UserError(
      f'curriculum.teacher={teacher} needs a backbone that trains: phases.backbone.duration must be'
      ' above 0'
    )


def check_there(config: ConfigDict) -> None:
  """Checks that `model.pretrained` exists.

  Raises:
    UserError: there is no such file or work directory.
  """
  source = config.model.pretrained
  place = expanded(source)
  if is_workdir(source):
    if not place.is_dir():
      raise UserError(
        f'model.pretrained is {source!r}; choose imagenet, a file {" or ".join(FILES)}, or the work'
        ' directory of a run'
      )
    read_run(place)
  elif source not in ('', IMAGENET) and not place.is_file():
    raise UserError(f'model.pretrained={source}: there is no such file')


def load_initial_weights(run: Run) -> str:
  """Loads the weights that `model.pretrained` names into the run's network, in place.

  Returns:
    a message: how many arrays were loaded, and which parts keep random values.

  Raises:
    UserError: they cannot be read or do not fit, or a part with random values never trains.
  """
  settings = run.config.model
  source, skip = settings.pretrained, listed(settings.pretrained_skip)
  if is_workdir(source):
    report = pretrained.fit(run.model, _of_run(source, run), skip=skip, source=source)
  else:
    report = pretrained.load(run.model, source, settings.backbone, skip=skip)
  _check_fresh(report.fresh, run)
  parts = sorted({'.'.join(name.split('.')[:2]) for name in report.fresh})  # a head is one part
  fresh = f'; fresh: {", ".join(parts)}' if parts else ''
  return f'{report.taken} arrays from {source}{fresh}{_other_cut(source, run)}'


def _other_cut(source: str, run: Run) -> str:
  """Returns a warning if the other run was trained on another split of the same data set."""
  identity = read_identity(expanded(source)) if is_workdir(source) else {}
  ours = run.dataset.name, run.dataset.fingerprint
  if identity.get('name') != ours[0] or identity['fingerprint'] == ours[1]:
    return ''
  return (
    f'; that run had another training split of {ours[0]}: it may have been trained on images'
    ' that are validation images here, or with other labels'
  )


def _of_run(source: str, run: Run) -> dict[str, np.ndarray]:
  """Returns the arrays of another run by name; takes its pixel statistics if configured."""
  workdir = expanded(source)
  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    state = checkpoints.arrays(devices.replicated(run.mesh))
  if state is None:
    raise UserError(f'the run in {source} has no checkpoint that can be read')
  if run.config.model.preprocessing == RUN:
    _take_pixel_statistics(state, source, run)
  if run.model.standardised and 'target_mean' in state:  # the unit in which its heads predict
    for name in ('target_mean', 'target_std'):
      mine: TargetStatistic = getattr(run.model, name)
      if state[name].shape == mine.shape:  # otherwise the heads do not fit either
        mine[...] = state[name]
  layers = flatten_dict({part: state[part] for part in ('backbone', 'heads')})
  return {pretrained.name_of(path): np.asarray(array) for path, array in layers.items()}


def _take_pixel_statistics(state: dict, source: str, run: Run) -> None:
  for name in ('mean', 'std'):
    mine: PixelStatistic = getattr(run.model, name)
    if len(state[name]) not in (1, len(mine)):
      raise UserError(
        f'the run in {source} takes images of {len(state[name])} channels, this one of {len(mine)};'
        ' set model.input_channels for gray images'
      )
    mine[...] = np.broadcast_to(state[name], mine.shape)


def _check_fresh(names: Iterable[str], run: Run) -> None:
  """Raises UserError for parts with random values that are used before any phase trains them."""
  scores_first = run.plans[0].phase.curriculum and needs_scores(run.config)
  trained = {prefix for plan in run.plans for prefix in plan.phase.trainable}
  if scores_first and scores_own_backbone(run.config):
    # The network scores the examples before any training; only its early exits are not used.
    trained = {('heads', name) for name in run.model.exit_names if name != FINAL}
  lost = [name for name in names if not _covered(name, trained)]
  if lost:
    raise UserError(
      f'{run.config.model.pretrained} has no weights for {lost[0]}, and no phase trains it before'
      ' it is used: phases.backbone.duration must be above 0'
    )


def _covered(name: str, prefixes: Iterable[tuple[str, ...]]) -> bool:
  path = tuple(name.split('.'))
  path = path if path[0] == 'heads' else ('backbone', 'stages', *path)
  return any(path[: len(prefix)] == prefix for prefix in prefixes)
