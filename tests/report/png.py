"""Reads PNG files in the tests of pictures."""

from matplotlib.image import imread


def size(path):
  """Returns width and height in pixels; fails if the picture is empty."""
  picture = imread(path)
  assert picture.min() < 0.5 < picture.max()
  return picture.shape[1], picture.shape[0]
