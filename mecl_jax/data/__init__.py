"""Loading of image-classification data into arrays, and augmentation."""

import os

from absl import logging

from mecl_jax.data import arrays as arrays_source
from mecl_jax.data import dataset
from mecl_jax.data import folder as folder_source
from mecl_jax.data import train_labels as train_labels_lib
from mecl_jax.data.dataset import Dataset, Parts, Split, channel_statistics
from mecl_jax.data.given import check_argument, from_source
from mecl_jax.data.label_noise import flip_labels
from mecl_jax.data.labels import CLASSES, KINDS
from mecl_jax.data.progress import Show, on_stderr
from mecl_jax.errors import UserError, choose
from mecl_jax.files import expanded

__all__ = [
  'Dataset',
  'Parts',
  'Split',
  'channel_statistics',
  'check_argument',
  'check_places',
  'flip_labels',
  'from_source',
  'load',
]


def load(
  *,
  name: str,
  data_dir: str | os.PathLike | None = None,
  arrays: str | os.PathLike | None = None,
  folder: str | os.PathLike | None = None,
  folder_size: int = 0,
  label: str = 'label',
  validation_size: float,
  test_size: float = 0.1,
  split_seed: int = 0,
  train_split: str = 'train',
  test_split: str = 'test',
  train_labels: str = '',
  validation_labels: str = 'given',
  label_noise: float = 0.0,
  noise_seed: int = 0,
  parts: Parts | None = None,
  kind: str = CLASSES,
  show: Show = on_stderr,
) -> Dataset:
  """Loads a set of labelled images; cuts a validation split from its training split.

  The set is `parts`, or is read from `arrays` or `folder`, else as TFDS has prepared it in
  `data_dir`. Otherwise the six sets of `published.NAMES` are downloaded, and TFDS prepares any
  other set if TensorFlow is installed.

  Args:
    name: a TFDS set (`'cifar10'`, `'set/config'`), or `'digits'`; with `arrays`, `folder` or
      `parts`, any name.
    data_dir: the folder of data prepared by TFDS; None or empty for `$TFDS_DATA_DIR`, or
      `~/tensorflow_datasets`.
    arrays: an .npz file to read, see `mecl_jax.data.arrays`; needs no TFDS.
    folder: a folder of image files to read, see `mecl_jax.data.folder`; needs no TFDS.
    folder_size: side in pixels of the images of `folder`, see `decoding.decode`.
    label: the name of the class label among the features.
    validation_size: number of examples cut from the training split, or their share, below 1; in
      equal shares of each class. Without effect if the set has a validation split.
    test_size: likewise for the test split of a `folder` that has none.
    split_seed: seed of the choice of these examples.
    train_split: the TFDS split or slice to train on, like `'train'` or `'train[:80%]'`.
    test_split: the TFDS split or slice to test on.
    train_labels: file with other labels of the training split, see `train_labels.relabel`.
    validation_labels: with `train_labels`, see `train_labels.with_given_labels`.
    label_noise: share of the training labels that are flipped, see `flip_labels`.
    noise_seed: seed of the choice of these labels.
    parts: from `from_source`.
    kind: of the labels, one of `labels.KINDS`; kinds other than classes are in `arrays` or `parts`.
    show: shows the progress of decoding a `folder`.

  Returns:
    The data set.

  Raises:
    UserError: the data cannot be found, downloaded or used.
  """
  choose('kind', kind, KINDS)
  train_labels_lib.check(train_labels, validation_labels, label_noise)
  check_places(arrays, folder, given=parts is not None)
  given = parts is not None
  if kind != CLASSES and (train_labels or label_noise):
    field = 'data.train_labels' if train_labels else 'data.label_noise'
    raise UserError(f'{field} changes labels that are classes, and these are {kind}; leave it out')
  if parts is not None and parts.kind != kind:
    raise UserError(
      f'the labels of the given data are {parts.kind}, and the task needs {kind}: give'
      f' mecl_jax.from_source(.., kind={kind!r})'
    )
  if parts is None and kind != CLASSES:
    if not arrays:
      raise UserError(
        f'labels that are {kind} are read from a .npz file or given; set data.arrays, or give'
        ' mecl_jax.from_source(..)'
      )
    parts = arrays_source.read_outputs(arrays, label, kind)
  if parts is None and folder:
    parts = folder_source.read(
      folder, side=folder_size, test_size=test_size, seed=split_seed, show=show
    )
  elif parts is None and arrays:
    train, test, class_names = arrays_source.read(arrays, label)
    parts = Parts(train, test, tuple(class_names))
  elif parts is None:
    options = {'label': label, 'train_split': train_split, 'test_split': test_split}
    parts = _read_tfds(name, data_dir, options)
  assembled = dataset.assemble(
    name, parts, given=given, validation_size=validation_size, split_seed=split_seed
  )
  if train_labels:
    relabelled = train_labels_lib.relabel(parts.train, train_labels, len(parts.class_names))
    # A validation split of its own has no labels in the file.
    keep = 'clean' if parts.validation else validation_labels
    return train_labels_lib.with_given_labels(assembled, relabelled, keep)
  return flip_labels(assembled, label_noise, noise_seed)


def check_places(
  arrays: str | os.PathLike | None, folder: str | os.PathLike | None, *, given: bool
) -> None:
  """Checks that at most one place of the images is set.

  Raises:
    UserError: there are several.
  """
  places = {'data.arrays': arrays, 'data.folder': folder, 'the argument data': given}
  if len(found := [name for name, place in places.items() if place]) > 1:
    raise UserError(f'set only one of {" and ".join(found)}')


def _read_tfds(name: str, data_dir: str | os.PathLike | None, options: dict[str, str]) -> Parts:
  """Reads a set that TFDS has prepared, or its published files."""
  from mecl_jax.data import prepare, published, tfds_source  # TFDS takes a second to import

  root = expanded(data_dir) if data_dir else tfds_source.default_data_dir()
  folder = tfds_source.find(name, root)
  if folder is None and name in published.NAMES:
    logging.info('%s is not prepared in %s; reading its published files', name, root)
    train, test, class_names = published.read(name, **options)
  else:
    folder = folder or prepare.prepare(name, root)
    train, test, class_names = tfds_source.read(folder, **options)
  return Parts(train, test, tuple(class_names))
