"""Wrong labels by intention, so that it can be measured how training copes with them."""

import dataclasses

import numpy as np

from mecl_jax.data.dataset import Dataset
from mecl_jax.errors import UserError


def flip_labels(dataset: Dataset, share: float, seed: int) -> Dataset:
  """Gives a share of the training examples another label; validation and test stay as they are.

  Args:
    dataset: with the labels as they came.
    share: of the training split, in [0, 1): exactly as many, rounded, get a label that is drawn
      evenly from the other classes (symmetric noise).
    seed: which ones, and their new labels; a larger share flips those of a smaller one too.

  Returns:
    the data set; its `clean_labels` are the labels before.

  Raises:
    UserError: there is one class only.
  """
  if not share:
    return dataset
  if dataset.num_classes < 2:
    raise UserError(f'{dataset.name} has one class: label_noise has no other label to give')
  clean, size = dataset.train.labels, len(dataset.train)
  generator = np.random.default_rng(seed)
  chosen = generator.permutation(size)[: round(share * size)]
  shift = generator.integers(1, dataset.num_classes, size)[chosen]
  noisy = clean.copy()
  noisy[chosen] = (clean[chosen] + shift) % dataset.num_classes
  train = dataclasses.replace(dataset.train, labels=noisy)
  return dataclasses.replace(dataset, train=train, clean_labels=clean)
