"""Preparation of TFDS data sets that are not on disk, where TensorFlow is installed."""

import contextlib
import difflib
import importlib.util
import io
import pathlib
import sys
from typing import Any

from absl import logging
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from mecl_jax.data import internet, tfds_source
from mecl_jax.errors import UserError

_REMEDY = (
  'set --config.data.data_dir=DIR to a TFDS folder with the prepared set, set '
  '--config.data.arrays=FILE.npz, or prepare the set on another machine and copy its folder'
)


def prepare(name: str, data_dir: pathlib.Path) -> pathlib.Path:
  """Downloads and prepares a TFDS set.

  Args:
    name: a data set of TFDS, or `set/config`.
    data_dir: the folder of the prepared sets.

  Returns:
    The folder of the prepared set.

  Raises:
    UserError: there is no such set, TensorFlow is not installed, the server does not answer
      within 5 seconds, or the download fails.
  """
  with tfds_source.quiet():
    builder = _builder(name, data_dir)
  url = next((url for url in builder.url_infos or () if url.startswith('http')), None)
  if url:
    internet.check_reachable(name, url, _REMEDY)
  with internet.lock(name, data_dir):
    folder = tfds_source.find(name, data_dir)  # another process may have prepared it meanwhile
    if not folder:
      _download_and_prepare(builder)
  return folder or pathlib.Path(builder.data_path)


def _builder(name: str, data_dir: pathlib.Path) -> Any:
  """Returns the builder of a set; nothing is downloaded or written yet."""
  known = tfds.list_builders(with_community_datasets=False)
  if name.partition('/')[0] not in known:
    here = [path.name for path in data_dir.iterdir()] if data_dir.is_dir() else []
    near = difflib.get_close_matches(name, {*known, *here, 'digits'})
    hint = f'did you mean {" or ".join(near)}?' if near else 'see the catalogue of TFDS'
    raise UserError(f'{name} is neither prepared in {data_dir} nor a data set of TFDS; {hint}')
  if importlib.util.find_spec('tensorflow') is None:
    raise UserError(
      f'{name} is not prepared in {data_dir}, and TFDS needs TensorFlow to prepare it; '
      f'run pip install tensorflow, {_REMEDY}'
    )
  try:
    return tfds.builder(name, data_dir=data_dir)
  except (ImportError, ValueError, RuntimeError) as error:
    raise UserError(f'TFDS cannot build {name}: {internet.first_line(error)}') from None


def _download_and_prepare(builder: Any) -> None:
  """Lets TFDS write the set; an unfinished folder keeps a temporary name."""
  logging.info('preparing %s in %s', builder.name, builder.data_path)
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  try:
    with tfds_source.quiet(), contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare(
        file_format='array_record',
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
      )
  except (
    AssertionError,  # TFDS raises it if files must be downloaded by hand
    ImportError,
    NonMatchingChecksumError,
    OSError,  # includes the errors of requests
    tfds.download.DownloadError,
  ) as error:
    reason = internet.first_line(error)
    raise UserError(
      f'{builder.name} could not be prepared: {reason}; try again, or {_REMEDY}'
    ) from error
