"""Label noise: a share of the training labels is flipped, to measure its effect on training."""

import dataclasses

import numpy as np

from mecl_jax.data.dataset import Dataset
from mecl_jax.errors import UserError


def flip_labels(dataset: Dataset, share: float, seed: int) -> Dataset:
  """Returns a data set in which a share of the training labels is wrong (symmetric noise).

  Validation and test labels stay as they are.

  Args:
    dataset: the data set without flipped labels.
    share: share of the training split in [0, 1), rounded to whole examples; each gets a label
      drawn uniformly from the other classes.
    seed: seed of the choice of examples and of their new labels; with the same seed, a larger
      share also flips the examples of a smaller share.

  Returns:
    The data set; its `clean_labels` are the original labels.

  Raises:
    UserError: the data set has only one class.
  """
  if not share:
    return dataset
  if dataset.num_classes < 2:
    raise UserError(f'{dataset.name} has only one class; set data.label_noise to 0')
  clean, size = dataset.train.labels, len(dataset.train)
  generator = np.random.default_rng(seed)
  chosen = generator.permutation(size)[: round(share * size)]
  shift = generator.integers(1, dataset.num_classes, size)[chosen]
  noisy = clean.copy()
  noisy[chosen] = (clean[chosen] + shift) % dataset.num_classes
  train = dataclasses.replace(dataset.train, labels=noisy)
  return dataclasses.replace(dataset, train=train, clean_labels=clean)
