"""Loading of image-classification data into arrays in memory, and augmentation."""

import os

from absl import logging

from mecl_jax.data import dataset
from mecl_jax.data import train_labels as train_labels_lib
from mecl_jax.data.dataset import Dataset, Split, channel_statistics
from mecl_jax.data.label_noise import flip_labels
from mecl_jax.data.labels import CLASSES
from mecl_jax.errors import UserError
from mecl_jax.files import expanded

__all__ = ['Dataset', 'Split', 'channel_statistics', 'flip_labels', 'load']


def load(
  *,
  name: str,
  data_dir: str | os.PathLike | None = None,
  arrays: str | os.PathLike | None = None,
  label: str = 'label',
  validation_size: float,
  split_seed: int = 0,
  train_split: str = 'train',
  test_split: str = 'test',
  train_labels: str = '',
  validation_labels: str = 'given',
  label_noise: float = 0.0,
  noise_seed: int = 0,
  kind: str = CLASSES,
) -> Dataset:
  """Loads a set of labelled images and cuts a validation split from its training split.

  The set is read from `arrays`, else as TFDS has prepared it in `data_dir`. Otherwise the six sets
  of `published.NAMES` are downloaded, and TFDS prepares any other set if TensorFlow is installed.

  Args:
    name: a TFDS set (`'cifar10'`, `'set/config'`), or `'digits'`; with `arrays`, any name.
    data_dir: the folder of data prepared by TFDS; None or empty for `$TFDS_DATA_DIR`, or
      `~/tensorflow_datasets`.
    arrays: an .npz file to read, see `mecl_jax.data.arrays`; needs no TFDS.
    label: the name of the class label among the features.
    validation_size: number of examples cut from the training split, or their share, below 1; in
      equal shares of each class.
    split_seed: seed of the choice of these examples.
    train_split: the TFDS split or slice to train on, like `'train'` or `'train[:80%]'`.
    test_split: the TFDS split or slice to test on.
    train_labels: file with other labels of the training split, see `train_labels.relabel`.
    validation_labels: with `train_labels`, see `train_labels.with_given_labels`.
    label_noise: share of the training labels that are flipped, see `flip_labels`.
    noise_seed: seed of the choice of these labels.
    kind: of the labels, one of `labels.KINDS`; kinds other than classes are read from `arrays`.

  Returns:
    The data set.

  Raises:
    UserError: the data cannot be found, downloaded or used.
  """
  train_labels_lib.check(train_labels, validation_labels, label_noise)
  if kind != CLASSES:
    return _load_outputs(name, arrays, label, validation_size, split_seed, kind)
  if arrays:
    from mecl_jax.data import arrays as arrays_source

    train, test, class_names = arrays_source.read(arrays, label)
  else:
    from mecl_jax.data import prepare, published, tfds_source  # TFDS takes a second to import

    root = expanded(data_dir) if data_dir else tfds_source.default_data_dir()
    options = {'label': label, 'train_split': train_split, 'test_split': test_split}
    folder = tfds_source.find(name, root)
    if folder is None and name in published.NAMES:
      logging.info('%s is not prepared in %s; reading its published files', name, root)
      train, test, class_names = published.read(name, **options)
    else:
      folder = folder or prepare.prepare(name, root)
      train, test, class_names = tfds_source.read(folder, **options)
  assembled = dataset.assemble(
    name,
    tuple(class_names),
    train,
    test,
    validation_size=validation_size,
    split_seed=split_seed,
  )
  if train_labels:
    given = train_labels_lib.relabel(train, train_labels, len(class_names))
    return train_labels_lib.with_given_labels(assembled, given, validation_labels)
  return flip_labels(assembled, label_noise, noise_seed)


def _load_outputs(
  name: str,
  arrays: str | os.PathLike | None,
  label: str,
  validation_size: float,
  split_seed: int,
  kind: str,
) -> Dataset:
  """Returns a data set with labels that are not classes."""
  from mecl_jax.data import arrays as arrays_source

  if not arrays:
    raise UserError(f'labels that are {kind} are read from a .npz file; set data.arrays')
  train, test, names, units = arrays_source.read_outputs(arrays, label, kind)
  return dataset.assemble(
    name,
    tuple(names),
    train,
    test,
    validation_size=validation_size,
    split_seed=split_seed,
    kind=kind,
    units=units,
  )
