"""The 1,797 handwritten digits that come with scikit-learn: real data without a download."""

import numpy as np

_TEST_EVERY = 5  # one in five examples of each class is in the test split


def read() -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Reads the digits; grey levels 0..16 are scaled to 0..255.

  Returns:
    split -> images, uint8 [N, 8, 8, 1], and labels, integers [N]; N is 1,438 in 'train' and 359
    in 'test'.

  References:
    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, 1998,
    https://archive.ics.uci.edu/dataset/80
  """
  from sklearn.datasets import load_digits  # takes a second to import

  images, labels = load_digits(return_X_y=True)
  pixels = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
  test = _is_test(labels)
  return {'train': (pixels[~test], labels[~test]), 'test': (pixels[test], labels[test])}


def _is_test(labels: np.ndarray) -> np.ndarray:
  """Returns a mask [N]: the third example of each class, and every fifth after it.

  A rule rather than a random draw does not depend on the version of NumPy.
  """
  rank = np.zeros(len(labels), int)
  for label in np.unique(labels):
    members = np.flatnonzero(labels == label)
    rank[members] = np.arange(len(members))
  return rank % _TEST_EVERY == _TEST_EVERY // 2
