"""Readers of official archives, for stock TFDS builders that can read theirs only by TensorFlow.

What a reader yields has the keys, ids and features of the stock builder, so that TFDS writes
the same folder and record order; images are PNG bytes, which TFDS stores without TensorFlow.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import gzip
import os
import tarfile
from typing import Any

import numpy as np

from mecl_jax.data import png

Records = Iterator[tuple[int, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Cifar:
  """CIFAR's binary format: label bytes, then 3,072 bytes of an image as [channel, row, column].

  Attributes:
    url: the .tar.gz archive.
    folder: the archive's only folder.
    files: split -> the files that hold it, in order.
    names: label feature -> the file of its class names, in the order of the label bytes.
  """

  url: str
  folder: str
  files: Mapping[str, tuple[str, ...]]
  names: Mapping[str, str]

  @property
  def urls(self) -> dict[str, str]:
    return {'archive': self.url}

  def splits(self, paths: Mapping[str, os.PathLike], features: Mapping[str, Any]):
    """Names the classes of `features`; returns {split: its records}."""
    with tarfile.open(paths['archive']) as archive:
      for label, file in self.names.items():
        features[label].names = self._read(archive, file).decode().split()
      content = {
        split: b''.join(self._read(archive, file) for file in files)
        for split, files in self.files.items()
      }
    return {split: self._records(split, data) for split, data in content.items()}

  def _read(self, archive: tarfile.TarFile, file: str) -> bytes:
    member = archive.extractfile(f'{self.folder}/{file}')
    if member is None:
      raise ValueError(f'{self.folder}/{file} is no plain file in the archive')
    return member.read()

  def _records(self, split: str, data: bytes) -> Records:
    rows = np.frombuffer(data, np.uint8).reshape(-1, len(self.names) + 3072)
    for index, row in enumerate(rows):
      labels = {name: int(row[i]) for i, name in enumerate(self.names)}
      image = row[len(self.names) :].reshape(3, 32, 32).transpose(1, 2, 0)
      yield index, {'id': f'{split}_{index:05d}', 'image': png.encode(image), **labels}


@dataclasses.dataclass(frozen=True)
class Mnist:
  """The idx format of MNIST and its family: four gzip files below one URL."""

  url: str

  @property
  def urls(self) -> dict[str, str]:
    files = {'train': 'train', 'test': 't10k'}
    return {
      f'{split}_{what}': f'{self.url}{file}-{what}-ubyte.gz'
      for split, file in files.items()
      for what in ('images-idx3', 'labels-idx1')
    }

  def splits(self, paths: Mapping[str, os.PathLike], features: Mapping[str, Any]):
    """Returns {split: its records}; the class names are in `features` already."""
    del features
    return {
      split: self._records(_idx(paths[f'{split}_images-idx3']), _idx(paths[f'{split}_labels-idx1']))
      for split in ('train', 'test')
    }

  def _records(self, images: np.ndarray, labels: np.ndarray) -> Records:
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
      yield index, {'image': png.encode(image[..., None]), 'label': int(label)}


def _idx(path: os.PathLike) -> np.ndarray:
  """Reads a gzipped idx file of bytes: 3 unused, the rank, that many big-endian lengths, data."""
  with gzip.open(path) as file:
    data = file.read()
  rank = data[3]
  shape = np.frombuffer(data, '>u4', count=rank, offset=4)
  return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


SOURCES: dict[str, Cifar | Mnist] = {
  'cifar10': Cifar(
    url='https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz',
    folder='cifar-10-batches-bin',
    files={
      'train': tuple(f'data_batch_{i}.bin' for i in range(1, 6)),
      'test': ('test_batch.bin',),
    },
    names={'label': 'batches.meta.txt'},
  ),
  'cifar100': Cifar(
    url='https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz',
    folder='cifar-100-binary',
    files={'train': ('train.bin',), 'test': ('test.bin',)},
    names={'coarse_label': 'coarse_label_names.txt', 'label': 'fine_label_names.txt'},
  ),
  'mnist': Mnist('https://storage.googleapis.com/cvdf-datasets/mnist/'),
  'fashion_mnist': Mnist('http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/'),
  'kmnist': Mnist('http://codh.rois.ac.jp/kmnist/dataset/kmnist/'),
}
