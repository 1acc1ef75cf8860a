"""The work directory of a run: one process at a time, one configuration for its life."""

from collections.abc import Iterator
import contextlib
import json
import pathlib
from typing import Any

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from mecl_jax import config as config_lib
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.files import write_json, write_npz


@contextlib.contextmanager
def claim(workdir: pathlib.Path) -> Iterator[None]:
  """Holds the work directory; the system lets go of it when the process ends in any way.

  Raises:
    UserError: another process holds it, or it cannot be made.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workdir / '.lock', timeout=0)
    lock.acquire()
  except Timeout:
    raise UserError(f'another process is at work in {workdir}') from None
  except OSError as error:
    raise UserError(f'cannot work in {workdir}: {error}') from None
  try:
    yield
  finally:
    lock.release()


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Whether a run has saved anything, whole or not."""
  return any(workdir.glob('checkpoints/[0-9]*'))


def forget_what_never_began(workdir: pathlib.Path) -> None:
  """Frees a work directory whose run kept nothing, as after an error before its first checkpoint.

  Otherwise a run that a wrong field stopped at once could not be started again with the right one.
  """
  kept = ('checkpoints/[0-9]*', 'damaged_checkpoints', 'difficulty.npz', 'summary.json', 'teacher')
  if not any(found for pattern in kept for found in workdir.glob(pattern)):
    for name in ('config.json', 'identity.json', 'label_noise.npz'):
      (workdir / name).unlink(missing_ok=True)


def check_config(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Makes sure that a work directory was made with this configuration, or is new.

  Raises:
    UserError: names the fields that differ.
  """
  path = workdir / 'config.json'
  if not path.exists():
    return
  differences = config_lib.differences(config, config_lib.resolve(config_lib.read(path)))
  if differences:
    raise UserError(
      f'{workdir} was made with another configuration: {"; ".join(differences)};'
      ' choose another --workdir'
    )


def check_data(workdir: pathlib.Path, dataset: Dataset) -> None:
  """Makes sure that a work directory was made with these data, or is new.

  Raises:
    UserError: other images, labels or splits.
  """
  identity = read_identity(workdir)
  for parts, key, now in (
    ('the training split', 'fingerprint', dataset.fingerprint),
    ('what is held out', 'held_out_fingerprint', dataset.held_out_fingerprint),
  ):
    if identity.get(key, now) != now:
      raise UserError(
        f'{workdir} was made with other data: {parts} of {dataset.name} has fingerprint {now}, was'
        f' {identity[key]}; choose another --workdir'
      )


def read_identity(workdir: pathlib.Path) -> dict[str, Any]:
  """Which data the run in a work directory sees, and its `digest`.

  The data are told by `name`, `fingerprint`, and, but for runs of early versions, `num_classes`,
  `channels`, `image_shape` and `held_out_fingerprint`. Nothing in a new one. The digest is kept,
  not made anew, so that a later version of the program, whose configuration has more fields, still
  knows the run's checkpoints as its own.

  Raises:
    UserError: the file is damaged.
  """
  path = workdir / 'identity.json'
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text())
    missing = {'name', 'fingerprint', 'digest'} - set(found)
    if missing:
      raise ValueError(f'it lacks {", ".join(sorted(missing))}')
    return found
  except (ValueError, TypeError) as error:
    raise UserError(f'{path} is damaged: {error}') from None


def read_summary(workdir: pathlib.Path) -> dict[str, Any] | None:
  """What summary.json holds; None if there is none (the run has not ended)."""
  path = workdir / 'summary.json'
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    return None
  except ValueError as error:
    raise UserError(f'{path} is damaged ({error}); --mode=evaluate writes it anew') from None


def describe_run(workdir: pathlib.Path, config: ConfigDict, dataset: Dataset, digest: str) -> None:
  """Keeps a run's resolved configuration, which data it sees, and which labels were flipped."""
  write_json(workdir / 'config.json', json.loads(config.to_json()))
  note_data(workdir, dataset, digest)
  if dataset.clean_labels is not None:
    where = dataset.clean_labels != dataset.train.labels
    flipped, clean = dataset.train.take(where), dataset.clean_labels[where]
    noise = {'id': flipped.ids, 'label': flipped.labels, 'clean_label': clean}
    write_npz(workdir / 'label_noise.npz', noise)


def note_data(workdir: pathlib.Path, dataset: Dataset, digest: str) -> None:
  """Writes what `read_identity` reads."""
  identity = {
    'name': dataset.name,
    'fingerprint': dataset.fingerprint,
    'held_out_fingerprint': dataset.held_out_fingerprint,
    'num_classes': dataset.num_classes,
    'channels': dataset.image_shape[-1],
    'image_shape': dataset.image_shape,
    'digest': digest,
  }
  write_json(workdir / 'identity.json', identity)
