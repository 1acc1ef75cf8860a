"""Image files of several sizes and formats, as people have them."""

import numpy as np
from PIL import Image

FORMATS = ('png', 'jpg', 'webp')


def patterns(classes):
  """Returns a coarse pattern for each class, uint8 [classes, 2, 2, 3]."""
  return np.random.default_rng(0).integers(40, 215, (classes, 2, 2, 3), dtype=np.uint8)


def write(root, count=24, classes=('cat', 'dog'), sides=(10, 30), formats=FORMATS):
  """Writes `count` images of random sizes into folders of their classes; returns the root."""
  rng = np.random.default_rng(0)
  shapes = patterns(len(classes))
  for number in range(count):
    label = number % len(classes)
    size = tuple(int(side) for side in rng.integers(*sides, 2))
    image = Image.fromarray(shapes[label]).resize(size, Image.Resampling.NEAREST)
    folder = root / classes[label]
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / f'{number:04d}.{formats[number % len(formats)]}')
  return root
