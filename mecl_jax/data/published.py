"""Six data sets read from the files of their authors, equal to what TFDS prepares from them.

CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST and KMNIST are downloaded; the digits come with
scikit-learn. Examples have the ids and the order that TFDS gives them, so that a difficulty file
or a slice of a split refers to the same examples either way.
"""

from collections.abc import Mapping
import gzip
import hashlib
import pathlib
import tarfile

from absl import logging
import numpy as np
import tensorflow_datasets as tfds

from mecl_jax.data import arrays, cache, dataset, digits, downloads, tfds_source

_DIGITS = tuple('0123456789')
_MNIST = {  # class names
  'mnist': _DIGITS,
  'fashion_mnist': (
    *('T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat'),
    *('Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'),
  ),
  'kmnist': ('o', 'ki', 'su', 'tsu', 'na', 'ha', 'ma', 'ya', 're', 'wo'),
}
_CIFAR = {  # for each label byte in front of an image, the file of its class names
  'cifar10': {'label': 'batches.meta.txt'},
  'cifar100': {'coarse_label': 'coarse_label_names.txt', 'label': 'fine_label_names.txt'},
}
NAMES = (*_CIFAR, *_MNIST, 'digits')

_Arrays = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> images, labels; as published


def read(
  name: str, *, label: str, train_split: str, test_split: str
) -> tuple[dataset.Split, dataset.Split, list[str]]:
  """Reads a data set; downloads it first if it is not in the cache folder.

  Args:
    name: one of `NAMES`.
    label: `'label'`; or `'coarse_label'` for CIFAR-100.
    train_split: a TFDS split or slice, like `'train'` or `'train[:80%]'`.
    test_split: likewise.

  Returns:
    The training split, the test split, the class names.

  Raises:
    UserError: the download fails, or there is no such label or split.
  """
  labels = _CIFAR.get(name, {'label': ''})
  if label not in labels:
    raise tfds_source.label_error(name, label, labels)
  selections = {'train': train_split, 'test': test_split}
  if name == 'digits':
    content = _read(name, [], label, selections)
  else:
    paths = downloads.fetch(name)
    path = cache.path_for(paths[0].parent, label, train_split, test_split)
    content = cache.load_or_make(path, lambda: _read(name, paths, label, selections))
  train, test = (arrays.split(name, content, role, 'label') for role in selections)
  return train, test, content['class_names'].tolist()


def _read(
  name: str, paths: list[pathlib.Path], label: str, selections: Mapping[str, str]
) -> cache.Arrays:
  """Returns the arrays of published files under the keys of `mecl_jax.data.arrays`."""
  logging.info('reading the published files of %s', name)
  if name == 'digits':
    published, class_names = digits.read(), _DIGITS
  elif name in _CIFAR:
    published, class_names = _read_cifar(paths[0], _CIFAR[name], label)
  else:
    published, class_names = _read_mnist(paths), _MNIST[name]
  splits = {split: _in_tfds_order(split, *both) for split, both in published.items()}
  content = {'class_names': np.array(class_names)}
  for role, selection in selections.items():
    slices = _slices(
      name, selection, {split: len(images) for split, (images, *_) in splits.items()}
    )
    parts = [[array[part] for array in splits[split]] for split, part in slices]
    for field, columns in zip(('images', 'labels', 'ids'), zip(*parts, strict=True), strict=True):
      content[f'{role}_{field}'] = np.concatenate(columns)
    if name in _MNIST:  # in TFDS they have no ids: examples are numbered in the order of TFDS
      del content[f'{role}_ids']
  return content


def _read_cifar(
  path: pathlib.Path, labels: dict[str, str], label: str
) -> tuple[_Arrays, tuple[str, ...]]:
  """Reads CIFAR's binary format: label bytes, then 3,072 bytes of [channel, row, column]."""
  with tarfile.open(path) as archive:  # in one pass: going back would decompress it again
    content = {
      pathlib.PurePath(member.name).name: file.read()
      for member in archive
      if (file := archive.extractfile(member))
    }
  splits = {}
  for split, prefixes in (('train', ('data_batch', 'train')), ('test', 'test')):
    files = sorted(file for file in content if file.startswith(prefixes))
    data = b''.join(content[file] for file in files)
    rows = np.frombuffer(data, np.uint8).reshape(-1, len(labels) + 3072)
    images = rows[:, len(labels) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    splits[split] = images, rows[:, list(labels).index(label)]
  return splits, tuple(content[labels[label]].decode().split())


def _read_mnist(paths: list[pathlib.Path]) -> _Arrays:
  """Reads images and labels from the four archives; the test archives come first."""
  test_images, test_labels, train_images, train_labels = map(_read_idx, paths)
  return {
    'train': (train_images[..., None], train_labels),
    'test': (test_images[..., None], test_labels),
  }


def _read_idx(path: pathlib.Path) -> np.ndarray:
  """Reads a gzipped idx file of bytes: 3 bytes, the rank, as many big-endian lengths, data."""
  data = gzip.decompress(path.read_bytes())
  rank = data[3]
  shape = np.frombuffer(data, '>u4', count=rank, offset=4)
  return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _in_tfds_order(split: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
  """Returns images, labels and ids in the order of TFDS records; ids are published positions.

  TFDS sorts records by the MD5 of the name of the split and the position.
  """
  hashes = [hashlib.md5(f'{split}{i}'.encode()).digest() for i in range(len(labels))]
  order = np.array(sorted(range(len(labels)), key=hashes.__getitem__))
  return images[order], labels[order], dataset.position_ids(split, len(labels))[order]


def _slices(name: str, selection: str, sizes: Mapping[str, int]) -> list[tuple[str, slice]]:
  """Returns the splits, and the part of each, that a TFDS split or slice selects."""
  infos = {split: tfds.core.SplitInfo(split, [size], num_bytes=0) for split, size in sizes.items()}
  try:
    parts = tfds.core.ReadInstruction.from_spec(selection).to_absolute(infos)
  except (KeyError, ValueError, NotImplementedError):
    parts = []
  slices = [(part.splitname, slice(part.from_, part.to)) for part in parts]
  if not any(range(sizes[split])[part] for split, part in slices):
    raise tfds_source.split_error(name, selection, sizes)
  return slices
