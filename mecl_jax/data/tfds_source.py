"""Reading of data that TFDS has prepared; needs no TensorFlow."""

from collections.abc import Iterable, Iterator, Mapping
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
from mecl_jax.errors import UserError, reading

_BATCH = 512  # records per read
_AGAIN = 'prepare the set again'


def default_data_dir() -> pathlib.Path:
  """Returns the default folder of TFDS: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`."""
  root = os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  return pathlib.Path(root).expanduser()


def find(name: str, data_dir: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of the newest prepared version of a data set, or None.

  Args:
    name: a data set, or `set/config`.
    data_dir: the folder of the prepared sets.

  Raises:
    UserError: the set is prepared in several configs, and `name` chooses none.
  """
  folder = _newest(data_dir / name)
  if folder or '/' in name or not (data_dir / name).is_dir():
    return folder
  configs = {path.name: _newest(path) for path in sorted((data_dir / name).iterdir())}
  prepared = {config: path for config, path in configs.items() if path}
  if len(prepared) > 1:
    choices = ', '.join(f'{name}/{config}' for config in prepared)
    raise UserError(f'{name} is prepared in several configs; choose one of: {choices}')
  return next(iter(prepared.values()), None)


def _newest(folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the newest finished `folder/VERSION`; TFDS writes its info at the end."""
  versions = {}
  for info in folder.glob('*/dataset_info.json'):
    if re.fullmatch(r'\d+\.\d+\.\d+', info.parent.name):
      versions[tuple(map(int, info.parent.name.split('.')))] = info.parent
  return versions[max(versions)] if versions else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Hides messages of TFDS below the level of an error from the log."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


def read(
  folder: pathlib.Path, *, label: str, train_split: str, test_split: str
) -> tuple[dataset.Split, dataset.Split, list[str]]:
  """Reads a prepared set; decoded images are kept in the cache folder.

  Args:
    folder: a prepared version, as returned by `find`.
    label: the name of the class label among the features.
    train_split: a TFDS split or slice, like `'train'` or `'train[:80%]'`.
    test_split: likewise.

  Returns:
    The training split, the test split, the class names.

  Raises:
    UserError: the files are damaged or not array_record, a split or feature is missing, or
      images differ in size.
  """
  with quiet():
    builder = _open(folder)
    _check_features(builder, label)
  splits = []
  for role, split in (('train', train_split), ('test', test_split)):
    with quiet():
      source = _data_source(builder, split)
    path = cache.path_for(folder, label, role, split)
    decode = functools.partial(_decode, folder, source, label, role)
    splits.append(dataset.Split(**cache.load_or_make(path, decode)))
  train, test = splits
  return train, test, list(builder.info.features[label].names)


def _open(folder: pathlib.Path) -> Any:
  for file in ('dataset_info.json', 'features.json'):
    with reading(str(folder / file), _AGAIN):
      json.loads((folder / file).read_text())
  with reading(str(folder), _AGAIN):
    builder = tfds.builder_from_directory(folder)
    formats = sorted(f.value for f in builder.info.available_file_formats())
    dict(builder.info.features)
  if 'array_record' not in formats:
    raise UserError(
      f'{folder} is prepared as {", ".join(formats) or "nothing"}, which has no random access; '
      "prepare it again with download_and_prepare(file_format='array_record') in another data_dir"
    )
  return builder


def _check_features(builder: Any, label: str) -> None:
  """Raises a `UserError` unless the set has uint8 images and the class label."""
  features = dict(builder.info.features)
  image = features.get('image')
  if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
    raise UserError(
      f"{builder.name} has no uint8 image feature 'image'; it has {', '.join(sorted(features))}"
    )
  possible = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
  if label not in possible:
    raise label_error(builder.name, label, possible)
  classes = features[label].num_classes or 0
  if not 2 <= classes <= dataset.MOST_CLASSES:
    raise dataset.classes_error(builder.name, classes)


def label_error(name: str, label: str, possible: Iterable[str]) -> UserError:
  """Returns the error for a class label that a data set does not have."""
  choices = ', '.join(sorted(possible)) or 'none'
  return UserError(f'{name} has no class label {label!r}; valid for data.label: {choices}')


def _data_source(builder: Any, split: str) -> Any:
  with reading(str(builder.data_path), _AGAIN):
    sizes = {key: info.num_examples for key, info in builder.info.splits.items()}
  try:
    source = builder.as_data_source(split, file_format='array_record')
  except (KeyError, ValueError, NotImplementedError, FileNotFoundError):
    raise split_error(builder.name, split, sizes) from None
  with reading(f'the record files of {builder.data_path}', _AGAIN):
    try:
      count = len(source)
    except ValueError:  # TFDS gives an empty slice such as train[50:10] a negative length
      count = 0
  if not count:
    raise split_error(builder.name, split, sizes)
  return source


def split_error(name: str, split: str, sizes: Mapping[str, int]) -> UserError:
  """Returns the error for a split or slice that a data set does not have, or that is empty."""
  splits = ', '.join(f'{key} ({size})' for key, size in sorted(sizes.items()))
  return UserError(f'{name} has no split {split!r}; it has {splits}')


def _decode(folder: pathlib.Path, source: Any, label: str, role: str) -> cache.Arrays:
  """Returns the fields of a split: the decoded records of `source`, sorted by id."""
  count = len(source)
  logging.info('decoding %d images of %s (%s) for the cache', count, folder, role)
  images = np.empty(0, np.uint8)  # replaced when the first image has shown the shape
  labels, ids = np.empty(count, np.int32), []
  for index, record in enumerate(_records(folder, source, role)):
    image = record['image']
    if not index:
      images = np.empty((count, *image.shape), np.uint8)
    if image.shape != images.shape[1:]:
      shapes = f'{images.shape[1:]} and {image.shape}'
      raise UserError(f'{folder}: images must have one size, but {role} has {shapes}')
    images[index], labels[index] = image, record[label]
    if isinstance(record.get('id'), bytes):
      ids.append(record['id'].decode())
  named = np.array(ids) if ids else dataset.position_ids(role, count)
  return vars(dataset.sorted_split(images, labels, named))


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
    with reading(f'the record files of {folder}', _AGAIN), quiet():
      batch = source.__getitems__(list(range(start, min(start + _BATCH, len(source)))))
    yield from batch
