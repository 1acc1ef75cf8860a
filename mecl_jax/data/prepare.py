"""Prepares TFDS sets that are not on disk yet, without TensorFlow where that is possible."""

from collections.abc import Iterator
import contextlib
import difflib
import importlib.util
import io
import pathlib
import sys
from typing import Any
import urllib.parse

from absl import logging
import filelock
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from mecl_jax.data import digits, network, official, tfds_source
from mecl_jax.errors import UserError

_WAYS_OUT = (
  '--config.data.data_dir=DIR with the prepared set, --config.data.arrays=FILE.npz with its '
  'arrays, or prepare it on a connected machine and copy the folder'
)


def prepared(name: str, data_dir: pathlib.Path) -> pathlib.Path:
  """Returns the folder of a prepared TFDS set; prepares the set first where it is not there.

  Args:
    name: a data set of TFDS, `set/config`, or `digits`.
    data_dir: where TFDS prepares its sets.

  Raises:
    UserError: no such set, it needs TensorFlow to be prepared, its server is not reachable,
      or the download failed; after at most 10 s where there is no network.
  """
  folder = tfds_source.find(name, data_dir)
  if folder:
    return folder
  with tfds_source.quiet():
    builder = _builder(name, data_dir)
  _check_reachable(builder, data_dir)
  with _lock(name, data_dir):
    folder = tfds_source.find(name, data_dir)  # another process may have been faster
    if not folder:
      _prepare(builder)
  return folder or pathlib.Path(builder.data_path)


def _builder(name: str, data_dir: pathlib.Path) -> Any:
  """Returns a builder that can prepare the set here; nothing is written or fetched yet."""
  if name == 'digits':
    return digits.Digits(data_dir=data_dir)
  known = tfds.list_builders(with_community_datasets=False)
  if name.partition('/')[0] not in known:
    here = [path.name for path in data_dir.iterdir()] if data_dir.is_dir() else []
    near = difflib.get_close_matches(name, {*known, *here, 'digits'})
    hint = f'did you mean {" or ".join(near)}?' if near else 'its catalog lists them all'
    raise UserError(f'{name} is neither prepared in {data_dir} nor a data set of TFDS; {hint}')
  source = official.SOURCES.get(name)
  if source is None and importlib.util.find_spec('tensorflow') is None:
    raise UserError(
      f'{name} is not prepared in {data_dir}, and TFDS needs TensorFlow to prepare it: '
      f'pip install tensorflow to let it be prepared here once, or {_WAYS_OUT}'
    )
  try:
    builder = tfds.builder(name, data_dir=data_dir)
  except (ImportError, ValueError, RuntimeError) as error:
    raise UserError(f'TFDS cannot build {name}: {_first_line(error)}') from None
  if source is not None:
    builder._split_generators = lambda manager: source.splits(
      manager.download(source.urls), builder.info.features
    )
  return builder


def _check_reachable(builder: Any, data_dir: pathlib.Path) -> None:
  source = official.SOURCES.get(builder.name)
  known = source.urls.values() if source else builder.url_infos or ()
  url = next((url for url in known if url.startswith('http')), None)
  if url is None:
    return
  reason = network.probe(url)
  if reason:
    host = urllib.parse.urlsplit(url).netloc
    raise UserError(
      f'{builder.name} is neither prepared in {data_dir} nor reachable at {host} ({reason}); '
      f'ways out: {_WAYS_OUT}'
    )


@contextlib.contextmanager
def _lock(name: str, data_dir: pathlib.Path) -> Iterator[None]:
  """One process at a time prepares a set; the others wait for it."""
  lock = filelock.FileLock(data_dir / f'.{name.replace("/", "-")}.lock')
  try:
    data_dir.mkdir(parents=True, exist_ok=True)
    lock.acquire(timeout=1)
  except filelock.Timeout:
    logging.info('waiting for another process that prepares %s', name)
    lock.acquire()
  except OSError as error:
    raise UserError(f'cannot prepare {name} in {data_dir}: {error}') from None
  try:
    yield
  finally:
    lock.release()


def _prepare(builder: Any) -> None:
  """Lets TFDS download and write the set; what it did not finish keeps another name."""
  logging.info('preparing %s in %s', builder.name, builder.data_path)
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  try:
    with tfds_source.quiet(), contextlib.redirect_stdout(io.StringIO()), network.bounded():
      builder.download_and_prepare(
        file_format='array_record',
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
      )
  except (
    AssertionError,  # how TFDS says that files must be fetched by hand
    ImportError,
    NonMatchingChecksumError,
    OSError,  # of the network too: requests' errors are of this kind
    tfds.download.DownloadError,
  ) as error:
    raise UserError(
      f'{builder.name} could not be prepared: {_first_line(error)}; try again, or {_WAYS_OUT}'
    ) from error


def _first_line(error: BaseException) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0]
