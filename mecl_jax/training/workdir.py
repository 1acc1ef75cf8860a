"""The work directory of a run: one process at a time, one configuration for its life."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import json
import os
import pathlib
import shutil
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from mecl_jax import config as config_lib
from mecl_jax.disk import LOCK
from mecl_jax.errors import MissingFile, UserError, first_line
from mecl_jax.files import (
  check_types,
  clear_temporary_files,
  read_json,
  write_checked_json,
  write_npz,
)
from mecl_jax.version import __version__

if TYPE_CHECKING:
  from mecl_jax.data import Dataset

FORMAT = 2  # of a work directory; mecl_jax 0.1 wrote none
_OF_IDENTITY_0_1 = {'name': str, 'fingerprint': str, 'digest': str}
_OF_IDENTITY = _OF_IDENTITY_0_1 | {
  **{'format': int, 'version': str, 'held_out_fingerprint': str, 'num_classes': int},
  **{'channels': int, 'image_shape': list},
}
_OF_SUMMARY = {
  **{'dataset': str, 'backbone': str, 'strategy': str, 'steps': int, 'complete': bool},
  'exits': list,
}
_OF_ANY_EXIT = {'name': str, 'macs': int, 'dynamic_macs': int, 'parameters': int}
_OF_EXIT = _OF_ANY_EXIT | dict.fromkeys(
  ('accuracy', 'accuracy_low', 'accuracy_high', 'nll', 'ece'), float
)
# Files that a run has only once it has begun to train, beside checkpoints.
_OF_TRAINING = ('damaged_checkpoints', 'difficulty.npz', 'rates.json', 'summary.json', 'teacher')


@contextlib.contextmanager
def claim(workdir: pathlib.Path) -> Iterator[None]:
  """Locks the work directory; the system unlocks it when the process ends in any way.

  Removes temporary files that killed processes left in it, or in work directories inside of it.

  Raises:
    UserError: another process has locked it, it cannot be made, or its path has a character that
      Orbax reads as a pattern of names: it would lose the checkpoints.
  """
  if found := sorted(set('[*?') & set(str(workdir.absolute()))):
    raise UserError(
      f'{workdir.absolute()} cannot be used as a work directory: its path must not have the'
      f' characters [ * ?, but has {" ".join(found)}'
    )
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workdir / LOCK, timeout=0)
    lock.acquire()
  except Timeout:
    raise UserError(f'another process uses the work directory {workdir}') from None
  except OSError as error:
    what = error.strerror or first_line(error)
    raise UserError(f'{workdir} cannot be used as a work directory: {what}') from None
  try:
    _clear_temporary_files(workdir)
    yield
  finally:
    lock.release()


def _clear_temporary_files(workdir: pathlib.Path) -> None:
  for name, folders, files in os.walk(workdir):
    folder = pathlib.Path(name)
    if LOCK in files and folder != workdir:  # the run of a teacher, which may be in use
      folders.clear()
      with contextlib.suppress(UserError), claim(folder):
        pass
      continue
    clear_temporary_files(folder)
    for unfinished in [each for each in folders if '.orbax-checkpoint-tmp' in each]:
      shutil.rmtree(folder / unfinished, ignore_errors=True)
      folders.remove(unfinished)


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Returns whether there are checkpoints, whole or damaged.

  Raises:
    UserError: the folder cannot be read.
  """
  folder = workdir / 'checkpoints'
  try:
    return any(path.name.isdigit() for path in folder.iterdir())
  except (FileNotFoundError, NotADirectoryError):
    return False
  except OSError as error:
    raise UserError(f'{folder} cannot be read: {error.strerror}') from None


def has_begun(workdir: pathlib.Path) -> bool:
  """Returns whether a work directory has files of a run that has begun to train."""
  return has_checkpoints(workdir) or any((workdir / name).exists() for name in _OF_TRAINING)


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
  try:
    config = config_lib.read(workdir / 'config.json')
  except MissingFile:
    raise MissingFile(
      f'{workdir} is not the work directory of a run: it has no config.json'
    ) from None
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
  try:
    differences = config_lib.differences(config, read_config(workdir))
  except MissingFile:
    return
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
  try:
    found = read_json(path, again='choose another --workdir')
  except MissingFile:
    return {}
  needed = _OF_IDENTITY if found.get('format') == FORMAT else _OF_IDENTITY_0_1
  check_types(path, found, needed, again='choose another --workdir')
  if found.get('format') != FORMAT:
    version = str(found.get('version', '0.1'))[:80]
    raise UserError(
      f'{workdir} was made by mecl_jax {version}, and this version cannot resume it; choose another'
      ' --workdir (its predictions.npz and difficulty.npz can still be read)'
    )
  return found


def read_summary(workdir: pathlib.Path) -> dict[str, Any] | None:
  """Reads summary.json; None if there is none, since the run has not ended.

  Raises:
    DamagedFile: the file is not what was written.
    UserError: it cannot be read now.
  """
  path, again = workdir / 'summary.json', f'--mode=evaluate --workdir={workdir} writes it again'
  try:
    found = read_json(path, again=again)
  except MissingFile:
    return None
  check_types(path, found, _OF_SUMMARY, again=again)
  of_exit = _OF_ANY_EXIT if 'task' in found else _OF_EXIT  # other tasks have other metrics
  for row in found['exits']:
    check_types(path, row if isinstance(row, dict) else {}, of_exit, again=again)
  return found


def describe_run(
  workdir: pathlib.Path,
  config: ConfigDict,
  dataset: Dataset,
  digest: str,
  more: Mapping[str, Any] | None = None,
) -> None:
  """Writes config.json, identity.json and, with label noise, label_noise.npz.

  Args:
    workdir: to write to.
    config: resolved.
    dataset: that the run sees.
    digest: of the run, which its checkpoints carry.
    more: what identity.json holds besides.
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
    'given': dataset.given,
    **(more or {}),
  }
  write_checked_json(workdir / 'identity.json', identity)
  write_checked_json(workdir / 'config.json', json.loads(config.to_json()))
  if dataset.clean_labels is not None:
    where = dataset.clean_labels != dataset.train.labels
    flipped, clean = dataset.train.take(where), dataset.clean_labels[where]
    noise = {'id': flipped.ids, 'label': flipped.labels, 'clean_label': clean}
    write_npz(workdir / 'label_noise.npz', noise)
