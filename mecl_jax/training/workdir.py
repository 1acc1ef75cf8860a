"""The work directory of a run: one process at a time, one configuration for its life."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import pathlib
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from mecl_jax import config as config_lib
from mecl_jax.disk import LOCK
from mecl_jax.errors import UserError
from mecl_jax.files import write_json, write_npz
from mecl_jax.version import __version__

if TYPE_CHECKING:
  from mecl_jax.data import Dataset

FORMAT = 2  # of a work directory; mecl_jax 0.1 wrote none
_OF_IDENTITY = {
  *('format', 'version', 'name', 'fingerprint', 'held_out_fingerprint', 'num_classes', 'channels'),
  *('image_shape', 'digest'),
}
_OF_IDENTITY_0_1 = {'name', 'fingerprint', 'digest'}
# Files that a run has only once it has begun to train.
_OF_TRAINING = (
  *('checkpoints/[0-9]*', 'damaged_checkpoints', 'difficulty.npz', 'summary.json', 'teacher'),
)


@contextlib.contextmanager
def claim(workdir: pathlib.Path) -> Iterator[None]:
  """Locks the work directory; the system unlocks it when the process ends in any way.

  Raises:
    UserError: another process has locked it, or it cannot be made.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workdir / LOCK, timeout=0)
    lock.acquire()
  except Timeout:
    raise UserError(f'another process uses the work directory {workdir}') from None
  except OSError as error:
    raise UserError(f'{workdir} cannot be used as a work directory: {error}') from None
  try:
    yield
  finally:
    lock.release()


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Returns whether there are checkpoints, whole or damaged."""
  return any(workdir.glob('checkpoints/[0-9]*'))


def has_begun(workdir: pathlib.Path) -> bool:
  """Returns whether a work directory has files of a run that has begun to train."""
  return any(found for pattern in _OF_TRAINING for found in workdir.glob(pattern))


def clear_unstarted_run(workdir: pathlib.Path) -> None:
  """Removes the description of a run that failed before its first checkpoint.

  The same work directory can then be used again with a corrected configuration.
  """
  if not has_begun(workdir):
    for name in ('config.json', 'identity.json', 'label_noise.npz'):
      (workdir / name).unlink(missing_ok=True)


def read_config(workdir: pathlib.Path) -> ConfigDict:
  """Reads the resolved configuration of a run, which need not have begun.

  Raises:
    UserError: the folder is not the work directory of a run, another version made it, or the run
      has begun and its identity.json is missing.
  """
  path = workdir / 'config.json'
  if not path.exists():
    raise UserError(f'{workdir} is not the work directory of a run: it has no config.json')
  config = config_lib.read(path)
  if not read_identity(workdir) and has_begun(workdir):
    raise UserError(_no_identity(workdir))
  return config


def read_run(workdir: pathlib.Path) -> tuple[ConfigDict, dict[str, Any]]:
  """Reads the resolved configuration and the identity of a run.

  Raises:
    UserError: as `read_config`; or the run has not begun.
  """
  config, identity = read_config(workdir), read_identity(workdir)
  if not identity:
    raise UserError(_no_identity(workdir))
  return config, identity


def _no_identity(workdir: pathlib.Path) -> str:
  return (
    f'{workdir / "identity.json"} is missing, which describes the data of the run; choose another'
    ' --workdir'
  )


def check_config(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Checks that a work directory is new, or was made with this configuration.

  Args:
    workdir: to check.
    config: resolved.

  Raises:
    UserError: names the fields that differ.
  """
  if not (workdir / 'config.json').exists():
    return
  differences = config_lib.differences(config, read_config(workdir))
  if differences:
    raise UserError(
      f'{workdir} was made with another configuration: {"; ".join(differences)};'
      ' choose another --workdir'
    )


def check_data(workdir: pathlib.Path, dataset: Dataset) -> None:
  """Checks that a work directory is new, or was made with these data.

  Raises:
    UserError: images, labels or splits differ.
  """
  identity = read_identity(workdir)
  for parts, key, now in (
    ('the training split', 'fingerprint', dataset.fingerprint),
    ('validation and test', 'held_out_fingerprint', dataset.held_out_fingerprint),
  ):
    if identity.get(key, now) != now:
      raise UserError(
        f'{workdir} was made with other data: the fingerprint of {parts} of {dataset.name} is'
        f' {now}, was {identity[key]}; choose another --workdir'
      )


def read_identity(workdir: pathlib.Path) -> dict[str, Any]:
  """Reads which data a run sees, and its digest.

  Returns:
    what `describe_run` wrote to identity.json; nothing for a new work directory. The digest is read
    and not computed, since a later version of mecl_jax, whose configuration has more fields, would
    compute another one and reject the run's checkpoints.

  Raises:
    UserError: the file is damaged, or another version of mecl_jax made the work directory.
  """
  path = workdir / 'identity.json'
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text())
    needed = _OF_IDENTITY if found.get('format') == FORMAT else _OF_IDENTITY_0_1
    missing = needed - set(found)
    if missing:
      raise ValueError(f'it lacks {", ".join(sorted(missing))}')
  except (ValueError, TypeError) as error:
    raise UserError(f'{path} is damaged: {error}') from None
  if found.get('format') != FORMAT:
    version = found.get('version', '0.1')
    raise UserError(
      f'{workdir} was made by mecl_jax {version}, and this version cannot resume it; choose another'
      ' --workdir (its predictions.npz and difficulty.npz can still be read)'
    )
  return found


def read_summary(workdir: pathlib.Path) -> dict[str, Any] | None:
  """Reads summary.json; None if there is none, since the run has not ended.

  Raises:
    UserError: the file is damaged.
  """
  path = workdir / 'summary.json'
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    return None
  except ValueError as error:
    raise UserError(
      f'{path} is damaged ({error}); --mode=evaluate --workdir={workdir} writes it again'
    ) from None


def describe_run(workdir: pathlib.Path, config: ConfigDict, dataset: Dataset, digest: str) -> None:
  """Writes config.json, identity.json and, with label noise, label_noise.npz.

  Args:
    workdir: to write to.
    config: resolved.
    dataset: that the run sees.
    digest: of the run, which its checkpoints carry.
  """
  identity = {
    'format': FORMAT,
    'version': __version__,
    'name': dataset.name,
    'fingerprint': dataset.fingerprint,
    'held_out_fingerprint': dataset.held_out_fingerprint,
    'num_classes': dataset.num_classes,
    'channels': dataset.image_shape[-1],
    'image_shape': dataset.image_shape,
    'digest': digest,
  }
  write_json(workdir / 'identity.json', identity)
  write_json(workdir / 'config.json', json.loads(config.to_json()))
  if dataset.clean_labels is not None:
    where = dataset.clean_labels != dataset.train.labels
    flipped, clean = dataset.train.take(where), dataset.clean_labels[where]
    noise = {'id': flipped.ids, 'label': flipped.labels, 'clean_label': clean}
    write_npz(workdir / 'label_noise.npz', noise)
