"""Reading of a data set from one .npz file; needs neither TFDS nor a network.

The file has the keys `{train,test}_images` (uint8 [N, H, W, C], or [N, H, W] for grey images) and
`{train,test}_labels` (integers [N]), and optionally `{train,test}_ids` (str [N]) and
`class_names` (str [classes]). Labels of other kinds are described in `labels.py`; `class_names` are
then the names of their columns, and `units` is the unit of numbers.
"""

from collections.abc import Mapping
import os

import numpy as np

from mecl_jax.data import dataset
from mecl_jax.data import labels as labels_lib
from mecl_jax.data.rows import available_memory
from mecl_jax.errors import UserError
from mecl_jax.files import read_npz

_SPLITS = ('train', 'test')


def read(path: str | os.PathLike, label: str) -> tuple[dataset.Split, dataset.Split, list[str]]:
  """Reads the training split, the test split and the class names.

  Args:
    path: the .npz file.
    label: `'label'` reads the keys `train_labels` and `test_labels`.

  Raises:
    UserError: the file does not exist or is not an .npz, a key is missing, a dtype or shape is
      wrong, lengths differ, or a class has no training example.
  """
  arrays = _read_npz(path, label)
  train, test = (split(path, arrays, role, label) for role in _SPLITS)
  return train, test, class_names(path, arrays.get('class_names'), train.labels)


def read_outputs(path: str | os.PathLike, label: str, kind: str) -> dataset.Parts:
  """Reads labels that are not classes.

  Args:
    path, label: as of `read`.
    kind: of the labels, `labels.BINARY` or `labels.NUMBERS`.

  Raises:
    UserError: as `read`; or the labels are not of this kind, or have other columns in the splits.
  """
  arrays = _read_npz(path, label)
  train, test = (split(path, arrays, role, label, kind) for role in _SPLITS)
  outputs, of_test = train.labels.shape[1], test.labels.shape[1]
  if outputs != of_test:
    raise UserError(
      f'{path}: train_{label}s has {outputs} columns and test_{label}s has {of_test}; give both the'
      ' same columns'
    )
  names = labels_lib.names(path, arrays.get('class_names'), outputs, kind)
  unit = labels_lib.units(path, arrays.get('units')) if kind == labels_lib.NUMBERS else ''
  return dataset.Parts(train, test, tuple(names), kind=kind, units=dataset.clean_name(unit))


def _read_npz(path: str | os.PathLike, label: str) -> dict[str, np.ndarray]:
  """Returns the arrays of a file; raises a UserError without those that are needed."""
  # A compressed file can name any size. Images shrink to a tenth, rarely to a fiftieth.
  size = os.path.getsize(path) if os.path.exists(path) else 0
  found = read_npz(path, max_bytes=min(available_memory() // 2, max(1 << 30, 50 * size)))
  required = [f'{role}_{what}s' for role in _SPLITS for what in ('image', label)]
  if missing := [key for key in required if key not in found]:
    raise UserError(
      f'{path}: missing {", ".join(missing)}; the file has {", ".join(sorted(found))}'
    )
  return found


def split(
  path: str | os.PathLike,
  arrays: Mapping[str, np.ndarray],
  role: str,
  label: str,
  kind: str = labels_lib.CLASSES,
) -> dataset.Split:
  """Returns the split of one role, `train` or `test`, after checks of dtypes and shapes."""
  images, labels = arrays[f'{role}_images'], arrays[f'{role}_{label}s']
  if images.dtype != np.uint8 or images.ndim not in (3, 4):
    raise UserError(
      f'{path}: {role}_images must be uint8 [N, H, W, C] or [N, H, W], '
      f'but is {images.dtype} {list(images.shape)}'
    )
  classes = kind == labels_lib.CLASSES
  if not classes:
    labels = labels_lib.checked(path, f'{role}_{label}s', labels, kind)
  elif labels.dtype.kind not in 'iu' or labels.ndim != 1:
    raise UserError(
      f'{path}: {role}_{label}s must be integers [N], but is {labels.dtype} {list(labels.shape)}'
    )
  ids = arrays.get(f'{role}_ids', dataset.position_ids(role, len(labels)))
  if ids.dtype.kind != 'U' or ids.ndim != 1:
    raise UserError(f'{path}: {role}_ids must be text [N], but is {ids.dtype} {list(ids.shape)}')
  if not len(images) == len(labels) == len(ids):
    lengths = f'{len(images)} images, {len(labels)} labels, {len(ids)} ids'
    raise UserError(f'{path}: the {role} arrays differ in length: {lengths}')
  if classes and len(labels) and not 0 <= labels.min() <= labels.max() <= dataset.LAST_LABEL:
    outside = int(((labels < 0) | (labels > dataset.LAST_LABEL)).sum())
    raise UserError(
      f'{path}: {outside} of {len(labels)} {role} labels lie outside 0..{dataset.LAST_LABEL}'
    )
  images = images[..., None] if images.ndim == 3 else images
  return dataset.sorted_split(images, labels, ids)


def class_names(path: str | os.PathLike, names: np.ndarray | None, labels: np.ndarray) -> list[str]:
  """Returns `names`, or the numbers up to the largest training label if `names` is None.

  Args:
    path: of the data, for messages.
    names: str [classes].
    labels: integers [N] from 0, of the training split.

  Raises:
    UserError: a class has no training example, or the labels do not begin at 0.
  """
  if not len(labels):
    raise UserError(f'{path}: the train arrays are empty')
  largest = int(labels.max())
  if largest >= len(labels):
    raise UserError(
      f'{path}: the largest training label is {largest}, but there are only {len(labels)} training'
      f' images, with {len(np.unique(labels))} different labels; number the classes 0, 1, 2, ..'
    )
  if names is not None and (names.dtype.kind != 'U' or names.ndim != 1):
    raise UserError(f'{path}: class_names must be text [classes], but is {names.dtype}')
  found = names.tolist() if names is not None else [str(i) for i in range(largest + 1)]
  counts = np.bincount(labels, minlength=len(found))
  empty = [name for name, count in zip(found, counts, strict=False) if not count]
  if empty:
    raise UserError(
      f'{path}: {len(empty)} of {len(found)} classes have no training example: '
      f'{", ".join(empty[:10])}'
    )
  return found
