"""Images, records and features of sets of a few images in three classes."""

import io

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds


def images(count, shape=(6, 5, 3), seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def png(image):
  """Returns a uint8 image [H, W, 1 or 3] as PNG, which TFDS writes without TensorFlow."""
  buffer = io.BytesIO()
  Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, 'PNG')
  return buffer.getvalue()


def records(pixels, ids=None):
  """Yields records for TFDS with the labels 0, 1, 2, 0, 1, .."""
  for i, image in enumerate(pixels):
    record = {'image': png(image), 'label': i % 3}
    yield i, record if ids is None else {**record, 'id': ids[i]}


def features(*, with_id=True, **others):
  basic = {
    'image': tfds.features.Image(),
    'label': tfds.features.ClassLabel(names=['cat', 'dog', 'elk']),
    **others,
  }
  return {**basic, 'id': tfds.features.Text()} if with_id else basic
