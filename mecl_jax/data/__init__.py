"""Data in: TFDS sets or plain arrays, as arrays in memory with a validation split cut off."""

import os
import pathlib

from mecl_jax.data import dataset
from mecl_jax.data.dataset import Dataset, Split, channel_statistics
from mecl_jax.data.label_noise import flip_labels

__all__ = ['Dataset', 'Split', 'channel_statistics', 'flip_labels', 'load']


def load(
  *,
  name: str,
  data_dir: str | os.PathLike | None = None,
  arrays: str | os.PathLike | None = None,
  label: str = 'label',
  validation_size: int,
  split_seed: int = 0,
  train_split: str = 'train',
  test_split: str = 'test',
  label_noise: float = 0.0,
  noise_seed: int = 0,
) -> Dataset:
  """Loads an image-classification set; prepares it first where it is a TFDS set not on disk.

  Args:
    name: a TFDS set (`'cifar10'`, `'set/config'`), or `'digits'`; with `arrays`, any name.
    data_dir: where TFDS keeps prepared sets; none or empty for its default
      (`$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`).
    arrays: an .npz file of the user's own to read instead; needs no TFDS.
    label: the name of the class label among the features.
    validation_size: examples cut from the training split, stratified by class.
    split_seed: which examples are cut.
    train_split: the TFDS split to train on, as `'train'` or `'train[:80%]'`.
    test_split: the TFDS split to test on.
    label_noise: share of the training labels that are flipped, see `flip_labels`.
    noise_seed: which ones.

  Raises:
    UserError: one line that says what is wrong with the data or how to get them.
  """
  if arrays:
    from mecl_jax.data import arrays as arrays_source

    train, test, class_names = arrays_source.read(arrays, label)
  else:
    from mecl_jax.data import prepare, tfds_source  # TFDS takes a second, and may be absent

    root = pathlib.Path(data_dir).expanduser() if data_dir else tfds_source.default_data_dir()
    train, test, class_names = tfds_source.read(
      prepare.prepared(name, root), label=label, train_split=train_split, test_split=test_split
    )
  assembled = dataset.assemble(
    name,
    tuple(class_names),
    train,
    test,
    validation_size=validation_size,
    split_seed=split_seed,
  )
  return flip_labels(assembled, label_noise, noise_seed)
