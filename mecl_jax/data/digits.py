"""scikit-learn's 1,797 handwritten digits as a TFDS data set: real data without a download."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mecl_jax.data import png

_TEST_EVERY = 5  # one in five examples of each class is for the test


class Digits(tfds.core.GeneratorBasedBuilder):
  """8x8 grey images in 10 classes; 1,438 for training and 359 for the test."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description="scikit-learn's handwritten digits, 8x8 grey pixels scaled from 0..16 to 0..255.",
      features=tfds.features.FeaturesDict(
        {
          'id': tfds.features.Text(),
          'image': tfds.features.Image(shape=(8, 8, 1)),
          'label': tfds.features.ClassLabel(num_classes=10),
        }
      ),
      supervised_keys=('image', 'label'),
      homepage='https://archive.ics.uci.edu/dataset/80',
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
    del dl_manager  # the data come with scikit-learn
    return {split: self._generate_examples(split) for split in ('train', 'test')}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from sklearn.datasets import load_digits  # slow to import, and wanted only once

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    wanted = _is_test(labels) == (split == 'test')
    examples = zip(pixels[wanted], labels[wanted], strict=True)
    for index, (image, label) in enumerate(examples):
      record = {'id': f'{split}_{index:05d}', 'image': png.encode(image), 'label': int(label)}
      yield index, record


def _is_test(labels: np.ndarray) -> np.ndarray:
  """Returns a mask [N]: the third example of a class, and every fifth after it.

  A rule, not a random draw: it stays the same whatever the version of NumPy.
  """
  rank = np.zeros(len(labels), int)
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    rank[members] = np.arange(len(members))
  return rank % _TEST_EVERY == _TEST_EVERY // 2
