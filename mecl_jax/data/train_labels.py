"""Training labels from a file, such as those that people gave."""

import dataclasses
import os
import pathlib

import numpy as np

from mecl_jax.data.dataset import Dataset, Split
from mecl_jax.errors import UserError, reading
from mecl_jax.files import expanded, read_npz


def check(train_labels: str, validation_labels: str, label_noise: float) -> None:
  """Checks the arguments of `load` that change labels against each other.

  Raises:
    UserError: they cannot be used together.
  """
  if validation_labels != 'given' and not train_labels:
    raise UserError(f'data.validation_labels={validation_labels} needs data.train_labels')
  if train_labels and label_noise:
    raise UserError('set only one of data.train_labels and data.label_noise')


def relabel(train: Split, source: str, num_classes: int) -> Split:
  """Returns the training split with the labels of a file.

  Args:
    train: the whole training split.
    source: an .npz or .csv file, or `FILE:NAME` for the array or column NAME; without it, `label`.
      Labels are integers [N]. With an array or column `id` (text [N]) they are matched by id, and
      the file may have more examples. Without it, they are in the order of the ids of `train`,
      which for CIFAR is the order of the published files.
    num_classes: of the data set.

  Raises:
    UserError: the file cannot be read, or does not fit the training split.
  """
  path, name = _split_name(source)
  labels, ids = (_read_csv if path.suffix == '.csv' else _read_npz)(path, name)
  if labels.dtype.kind not in 'iu' or labels.ndim != 1:
    raise UserError(f'{path}: {name} must be integers [N]; it is {labels.dtype} {labels.shape}')
  if ids is None and len(labels) != len(train):
    raise UserError(
      f'{path} has {len(labels)} labels for {len(train)} training examples; without ids there must'
      ' be one for each'
    )
  if ids is not None:
    labels = labels[_positions(path, np.asarray(ids), len(labels), train.ids)]
  outside = (labels < 0) | (labels >= num_classes)
  if outside.any():
    raise UserError(
      f'{path}: {outside.sum()} of {len(labels)} labels lie outside 0..{num_classes - 1}, first'
      f' {labels[outside][0]}'
    )
  return dataclasses.replace(train, labels=labels.astype(np.int32))


def with_given_labels(dataset: Dataset, given: Split, validation: str) -> Dataset:
  """Returns a data set with the labels of a file, which also has the original labels.

  The validation split is cut by the original labels. So runs with different files are validated on
  the same images, and share the features of a frozen backbone.

  Args:
    dataset: with the original labels.
    given: the whole training split, relabelled.
    validation: 'given': the validation split gets the labels of the file too, as if the correct
      labels were unknown; 'clean': it keeps the original ones.
  """

  def relabelled(split: Split) -> Split:
    return dataclasses.replace(split, labels=given.labels[np.searchsorted(given.ids, split.ids)])

  return dataclasses.replace(
    dataset,
    train=relabelled(dataset.train),
    validation=relabelled(dataset.validation) if validation == 'given' else dataset.validation,
    clean_labels=dataset.train.labels,
  )


def _split_name(source: str) -> tuple[pathlib.Path, str]:
  file, colon, name = source.rpartition(':')
  if not colon or os.path.exists(source):
    file, name = source, 'label'
  path = expanded(file)
  if not path.is_file():
    raise UserError(f'data.train_labels={source}: there is no file {path}')
  return path, name


def _read_npz(path: pathlib.Path, name: str) -> tuple[np.ndarray, np.ndarray | None]:
  arrays = read_npz(path)
  if name not in arrays:
    raise UserError(_no_such(path, name, list(arrays)))
  return arrays[name], arrays['id'].astype(np.str_) if 'id' in arrays else None


def _read_csv(path: pathlib.Path, name: str) -> tuple[np.ndarray, np.ndarray | None]:
  import pyarrow
  from pyarrow import csv

  # An id like 00042 must not become the number 42.
  options = csv.ConvertOptions(column_types={'id': pyarrow.string(), name: pyarrow.int64()})
  with reading(str(path)):
    table = csv.read_csv(path, convert_options=options)
  if name not in table.column_names:
    raise UserError(_no_such(path, name, table.column_names))
  for column in {name, 'id'} & set(table.column_names):
    if empty := table[column].null_count:
      raise UserError(f'{path}: {empty} of {len(table)} values of {column} are empty')
  labels = table[name].to_numpy()
  ids = np.array(table['id'].to_pylist(), np.str_) if 'id' in table.column_names else None
  return labels, ids


def _no_such(path: pathlib.Path, name: str, names: list[str]) -> str:
  return f'{path} has no labels {name}; choose data.train_labels={path}:NAME from: ' + ', '.join(
    other for other in names if other != 'id'
  )


def _positions(path: pathlib.Path, ids: np.ndarray, count: int, wanted: np.ndarray) -> np.ndarray:
  """Returns the position in `ids` of every wanted id."""
  if ids.shape != (count,) or len(np.unique(ids)) != count:
    raise UserError(f'{path}: there must be one id for each of {count} labels, without repetition')
  order = np.argsort(ids)
  found = order[np.searchsorted(ids[order], wanted).clip(max=count - 1)]
  missing = ids[found] != wanted
  if missing.any():
    raise UserError(
      f'{path} has no label for {missing.sum()} of {len(wanted)} training examples, first'
      f' {wanted[missing][0]}'
    )
  return found
