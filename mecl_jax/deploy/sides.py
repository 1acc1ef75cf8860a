"""Predictions of a device and of a server that continues with the features it was sent."""

from collections.abc import Callable

import numpy as np

from mecl_jax.deploy.offload import Side
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.rules import top_probability
from mecl_jax.deploy.runtime.wire import pack, unpack

BATCH = 64  # images at a time


def predict_sides(
  network: Network,
  name: str,
  images: np.ndarray,
  labels: np.ndarray,
  send_as: str,
  on_batch: Callable[[int], None] = lambda done: None,
) -> Side:
  """Predicts images on the device, and on the server from what is sent before every segment.

  Args:
    network: of the bundle.
    name: of the split.
    images: uint8 [N, height, width, channels].
    labels: int [N].
    send_as: 'float16' or 'int8', of the feature maps that are sent.
    on_batch: is called with the number of images done.
  """
  parts = []
  for at in range(0, len(images), BATCH):
    parts.append(_predict(network, images[at : at + BATCH], send_as))
    on_batch(min(len(images), at + BATCH))
  confidence, classes, server = zip(*parts, strict=True)
  return Side(
    name,
    labels,
    np.concatenate(confidence),
    np.concatenate(classes),
    np.concatenate(server, axis=1),
  )


def _predict(
  network: Network, images: np.ndarray, send_as: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns confidence and classes [n, exits], and classes on the server [exits, n, exits]."""
  x, by_exit, count = [images], list[np.ndarray](), len(network.bundle['exits'])
  server = np.zeros((count, len(images), count), int)
  for start, (following, before) in enumerate(network.walk([images])):
    if start:
      server[start, :, start:] = _resumed(network, start, x, by_exit[-1], send_as)
    x, by_exit = following, list(before)
  logits = np.stack(by_exit, axis=1)
  server[0] = logits.argmax(axis=-1)
  return top_probability(logits, np.float64(1)), server[0], server


def _resumed(
  network: Network, start: int, x: list[np.ndarray], before: np.ndarray, send_as: str
) -> np.ndarray:
  """Returns the classes int [n, exits - start] that a server predicts from what it is sent."""
  bundle, received = network.bundle, []
  for row in range(len(before)):
    one = [array[row : row + 1] for array in x]
    body = pack(bundle, start, send_as, one, before[row : row + 1])
    received.append(unpack(bundle, start, send_as, body))
  features = [np.concatenate(arrays) for arrays in zip(*(one for one, _ in received), strict=True)]
  logits = [one for _, one in received if one is not None]
  at_start = np.concatenate(logits) if logits else None
  *_, (_, by_exit) = network.walk(features, start, at_start)
  own = by_exit[1:] if logits else by_exit
  return np.stack(own, axis=1).argmax(axis=-1)
