"""What the tests of pictures share."""

from matplotlib.image import imread


def size(path):
  """Width and height in pixels; a picture that is all white counts as none."""
  picture = imread(path)
  assert picture.min() < 0.5 < picture.max()
  return picture.shape[1], picture.shape[0]
