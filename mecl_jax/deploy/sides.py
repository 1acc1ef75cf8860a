"""Predictions of a device and of a server that continues with the features it was sent."""

from collections.abc import Callable, Sequence

import numpy as np

from mecl_jax.deploy.offload import Side, Way
from mecl_jax.deploy.runtime.network import Network
from mecl_jax.deploy.runtime.rules import top_probability
from mecl_jax.deploy.runtime.wire import pack, unpack

BATCH = 64  # images at a time


def predict_sides(
  network: Network,
  name: str,
  images: np.ndarray,
  labels: np.ndarray,
  ways: Sequence[Way],
  on_batch: Callable[[int], None] = lambda done: None,
) -> Side:
  """Predicts images on the device, and on the server from what is sent in each way.

  Args:
    network: of the bundle.
    name: of the split.
    images: uint8 [N, height, width, channels].
    labels: int [N].
    ways: to continue on the server.
    on_batch: is called with the number of images done.
  """
  parts = []
  for at in range(0, len(images), BATCH):
    parts.append(_predict(network, images[at : at + BATCH], ways))
    on_batch(min(len(images), at + BATCH))
  confidence, classes, server = zip(*parts, strict=True)
  return Side(
    name,
    labels,
    np.concatenate(confidence),
    np.concatenate(classes),
    {way: np.concatenate([part[way] for part in server]) for way in ways},
  )


def _predict(
  network: Network, images: np.ndarray, ways: Sequence[Way]
) -> tuple[np.ndarray, np.ndarray, dict[Way, np.ndarray]]:
  """Returns confidence and classes [n, exits], and classes on the server by the way to it."""
  features, by_exit = [[images]], list[np.ndarray]()
  for following, before in network.walk([images]):
    features.append(following)
    by_exit = list(before)
  logits = np.stack(by_exit, axis=1)
  classes = logits.argmax(axis=-1)
  server = {way: classes.copy() for way in ways}
  for way in ways:
    if way.start:  # an image arrives as it is
      x, of_exit = features[way.start], by_exit[way.start - 1]
      server[way][:, way.start :] = _resumed(network, way, x, of_exit)
  return top_probability(logits, np.float64(1)), classes, server


def _resumed(network: Network, way: Way, x: list[np.ndarray], before: np.ndarray) -> np.ndarray:
  """Returns the classes int [n, exits - start] that a server predicts from what it is sent."""
  bundle, (start, send_as), received = network.bundle, way, []
  x = network.coders.encode(x, start, send_as)
  for row in range(len(before)):
    one = [array[row : row + 1] for array in x]
    body = pack(bundle, start, send_as, one, before[row : row + 1])
    received.append(unpack(bundle, start, send_as, body))
  features = [np.concatenate(arrays) for arrays in zip(*(one for one, _ in received), strict=True)]
  logits = [one for _, one in received if one is not None]
  at_start = np.concatenate(logits) if logits else None
  features = network.coders.decode(features, start, send_as)
  *_, (_, by_exit) = network.walk(features, start, at_start)
  own = by_exit[1:] if logits else by_exit
  return np.stack(own, axis=1).argmax(axis=-1)
