"""The work directory of a run: one process at a time, one configuration for its life."""

from collections.abc import Iterator
import contextlib
import json
import pathlib

from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from mecl_jax import config as config_lib
from mecl_jax.data import Dataset
from mecl_jax.errors import UserError
from mecl_jax.files import write_json


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


def check_config(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Makes sure that a work directory was made with this configuration, or is new.

  Raises:
    UserError: names the fields that differ.
  """
  path = workdir / 'config.json'
  if not path.exists():
    return
  differences = config_lib.differences(config, config_lib.read(path))
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
  made_with = read_identity(workdir).get('fingerprint', dataset.fingerprint)
  if made_with != dataset.fingerprint:
    raise UserError(
      f'{workdir} was made with other data: the training split of {dataset.name} has fingerprint'
      f' {dataset.fingerprint}, was {made_with}; choose another --workdir'
    )


def read_identity(workdir: pathlib.Path) -> dict[str, str]:
  """Which data the run in a work directory sees (`name`, `fingerprint`), and its `digest`.

  Nothing in a new one. The digest is kept, not made anew, so that a later version of the program,
  whose configuration has more fields, still knows the run's checkpoints as its own.

  Raises:
    UserError: the file is damaged.
  """
  path = workdir / 'identity.json'
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text())
    return {key: found[key] for key in ('name', 'fingerprint', 'digest')}
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f'{path} is damaged: {error}') from None


def describe_run(workdir: pathlib.Path, config: ConfigDict, dataset: Dataset, digest: str) -> None:
  """Keeps the resolved configuration of a run, which data it sees, and the digest of both."""
  write_json(workdir / 'config.json', json.loads(config.to_json()))
  identity = {'name': dataset.name, 'fingerprint': dataset.fingerprint, 'digest': digest}
  write_json(workdir / 'identity.json', identity)
