"""Facts of published data sets, for what must be known before their data are there."""

from typing import NamedTuple

import numpy as np

from mecl_jax.data.dataset import Dataset, Split, validation_count


class Known(NamedTuple):
  """What is known of a data set without its data.

  Attributes:
    image_shape: height, width, channels.
    classes: number of classes.
    train, test: number of images of the published splits.
  """

  image_shape: tuple[int, int, int]
  classes: int
  train: int
  test: int


_CIFAR = (32, 32, 3), 50_000, 10_000
_MNIST = Known((28, 28, 1), 10, 60_000, 10_000)
_LABELS = {  # data set -> label -> classes
  'cifar10': {'label': 10},
  'cifar100': {'label': 100, 'coarse_label': 20},
}
_OTHERS = {
  'mnist': _MNIST,
  'fashion_mnist': _MNIST,
  'kmnist': _MNIST,
  'digits': Known((8, 8, 1), 10, 1_438, 359),
}
NAMES = (*_LABELS, *_OTHERS)


def known(name: str, label: str, train_split: str, test_split: str) -> Known | None:
  """Returns the facts of a published data set; None for other sets, labels or parts of splits.

  >>> known('cifar100', 'coarse_label', 'train', 'test').classes
  20
  """
  if (train_split, test_split) != ('train', 'test'):
    return None
  if label in _LABELS.get(name, {}):
    shape, train, test = _CIFAR
    return Known(shape, _LABELS[name][label], train, test)
  return _OTHERS.get(name) if label == 'label' else None


def blank(name: str, facts: Known, validation_size: float) -> Dataset:
  """Returns a data set of black images that takes no memory, to describe what a run would do.

  Args:
    name: of the data set.
    facts: its shape; its splits are empty if `train` is 0.
    validation_size: as of `data.load`.
  """
  held_out = validation_count(validation_size, facts.train) if facts.train else 0

  def split(count: int) -> Split:
    images = np.broadcast_to(np.uint8(0), (count, *facts.image_shape))
    return Split(images, np.zeros(count, np.int32), np.broadcast_to(np.array(''), count))

  names = tuple(str(number) for number in range(facts.classes))
  return Dataset(name, names, split(facts.train - held_out), split(held_out), split(facts.test))
