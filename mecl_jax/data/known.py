"""Facts of published data sets, for what must be known before their data are there."""

from typing import NamedTuple


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


def validation_count(size: float, total: int) -> int:
  """Returns the number of images that are cut for validation.

  Args:
    size: number of images, or their share, below 1, of the training split.
    total: number of images of the training split.

  >>> validation_count(0.1, 50_000), validation_count(200, 1_438)
  (5000, 200)
  """
  return max(1, round(size * total)) if 0 < size < 1 else int(size)
