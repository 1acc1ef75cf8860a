"""Images, records and features of sets of a few images in three classes."""

import numpy as np
import tensorflow_datasets as tfds

from mecl_jax.data import png


def images(count, shape=(6, 5, 3), seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def records(pixels, ids=None):
  """Records for TFDS, labels going round in threes."""
  for i, image in enumerate(pixels):
    record = {'image': png.encode(image), 'label': i % 3}
    yield i, record if ids is None else {**record, 'id': ids[i]}


def features(*, with_id=True, **others):
  basic = {
    'image': tfds.features.Image(),
    'label': tfds.features.ClassLabel(names=['cat', 'dog', 'elk']),
    **others,
  }
  return {**basic, 'id': tfds.features.Text()} if with_id else basic
