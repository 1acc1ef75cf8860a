"""Prepared TFDS data as arrays: finds the folder, checks its features, decodes every record."""

from collections.abc import Iterator
import contextlib
import functools
import json
import os
import pathlib
import re
import sys
from typing import Any

from absl import logging
import numpy as np
from rich import progress
from rich.console import Console
import tensorflow_datasets as tfds

from mecl_jax.data import cache, dataset
from mecl_jax.errors import UserError

_BATCH = 512  # records a read


def default_data_dir() -> pathlib.Path:
  """TFDS's own default: `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`."""
  root = os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  return pathlib.Path(root).expanduser()


def find(name: str, data_dir: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of the newest prepared version of `name`, or None.

  Args:
    name: a data set, or `set/config`.
    data_dir: where TFDS prepares its sets.

  Raises:
    UserError: no config is named, and the set is prepared with several.
  """
  folder = _newest(data_dir / name)
  if folder or '/' in name or not (data_dir / name).is_dir():
    return folder
  configs = {path.name: _newest(path) for path in sorted((data_dir / name).iterdir())}
  prepared = {config: path for config, path in configs.items() if path}
  if len(prepared) > 1:
    choices = ', '.join(f'{name}/{config}' for config in prepared)
    raise UserError(f'{name} is prepared in several configs; say which: {choices}')
  return next(iter(prepared.values()), None)


def _newest(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the newest `folder/<version>` that TFDS finished, which is when it writes its info."""
  versions = {}
  for info in folder.glob('*/dataset_info.json'):
    if re.fullmatch(r'\d+\.\d+\.\d+', info.parent.name):
      versions[tuple(map(int, info.parent.name.split('.')))] = info.parent
  return versions[max(versions)] if versions else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Keeps the remarks of TFDS out of the program's own log; errors still pass."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


def read(
  folder: pathlib.Path, *, label: str, train_split: str, test_split: str
) -> tuple[dataset.Split, dataset.Split, list[str]]:
  """Reads a prepared set, from the cache of decoded images where it is there.

  Args:
    folder: a prepared version, as `find` returns it.
    label: the name of the class label among the features.
    train_split: a TFDS split or slice, as `'train'` or `'train[:80%]'`.
    test_split: likewise.

  Returns:
    The training split, the test split, the class names.

  Raises:
    UserError: the set is not array_record, lacks the splits or features, its images differ
      in size, or its files are damaged.
  """
  with quiet():
    builder = _open(folder)
    _check_features(builder, label)
  splits = []
  for role, split in (('train', train_split), ('test', test_split)):
    with quiet():
      source = _data_source(builder, split)
    path = cache.path_for(folder, label, role, split)
    splits.append(cache.load_or_make(path, functools.partial(_decode, folder, source, label, role)))
  train, test = splits
  return train, test, list(builder.info.features[label].names)


def _open(folder: pathlib.Path) -> Any:
  for file in ('dataset_info.json', 'features.json'):
    try:
      json.loads((folder / file).read_text())
    except (OSError, ValueError) as error:
      raise UserError(f'{folder}: {file} cannot be read ({error}); prepare the set again') from None
  builder = tfds.builder_from_directory(folder)
  formats = sorted(f.value for f in builder.info.available_file_formats())
  if 'array_record' not in formats:
    raise UserError(
      f'{folder} is prepared as {", ".join(formats) or "nothing"}, which has no random access; '
      "prepare it again with download_and_prepare(file_format='array_record') in another data_dir"
    )
  return builder


def _check_features(builder: Any, label: str) -> None:
  features = dict(builder.info.features)
  image = features.get('image')
  if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
    raise UserError(
      f"{builder.name} has no uint8 image feature 'image'; it has {', '.join(sorted(features))}"
    )
  if not isinstance(features.get(label), tfds.features.ClassLabel):
    possible = [k for k, f in sorted(features.items()) if isinstance(f, tfds.features.ClassLabel)]
    raise UserError(
      f'{builder.name} has no class label {label!r}; possible: {", ".join(possible) or "none"}'
    )


def _data_source(builder: Any, split: str) -> Any:
  try:
    return builder.as_data_source(split, file_format='array_record')
  except (KeyError, ValueError, FileNotFoundError):
    splits = ', '.join(f'{k} ({v.num_examples})' for k, v in sorted(builder.info.splits.items()))
    raise UserError(f'{builder.name} has no split {split!r}; it has {splits}') from None


def _decode(folder: pathlib.Path, source: Any, label: str, role: str) -> dataset.Split:
  """Decodes every record of `source` into arrays, sorted by id."""
  count = len(source)
  if not count:
    raise UserError(f'{folder}: the {role} split is empty')
  logging.info('decoding %d images of %s (%s); kept for the next start', count, folder, role)
  images = np.empty(0, np.uint8)  # the first image tells the shape
  labels, ids = np.empty(count, np.int32), []
  for index, record in enumerate(_records(folder, source, role)):
    image = record['image']
    if not index:
      images = np.empty((count, *image.shape), np.uint8)
    if image.shape != images.shape[1:]:
      shapes = f'{images.shape[1:]} and {image.shape}'
      raise UserError(f'{folder}: images must be of one size, but {role} has {shapes}')
    images[index], labels[index] = image, record[label]
    if isinstance(record.get('id'), bytes):
      ids.append(record['id'].decode())
  named = np.array(ids) if ids else dataset.position_ids(role, count)
  return dataset.sorted_split(images, labels, named)


def _records(folder: pathlib.Path, source: Any, role: str) -> Iterator[dict[str, Any]]:
  """Yields decoded records in order, with a progress bar on a terminal."""
  console = Console(stderr=True)
  starts = progress.track(
    range(0, len(source), _BATCH),
    description=f'decoding {role}',
    console=console,
    transient=True,
    disable=not sys.stderr.isatty(),
  )
  for start in starts:
    try:
      with quiet():
        batch = source.__getitems__(list(range(start, min(start + _BATCH, len(source)))))
    except (OSError, ValueError, IndexError, RuntimeError) as error:
      reason = str(error).splitlines()[0]
      raise UserError(f'{folder}: record files are damaged ({reason}); prepare it again') from None
    yield from batch
