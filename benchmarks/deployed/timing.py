"""What the sides have in common: the test images, and the time of calls."""

from collections.abc import Callable
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

FILE = 'test.npz'

# Function of images, uint8 [B, height, width, channels]; images and result are on the host.
Call = Callable[[np.ndarray], Any]


class Test(NamedTuple):
  """Images of the test split, uint8 [N, height, width, channels], and their labels, int [N]."""

  images: np.ndarray
  labels: np.ndarray

  def first(self, number: int) -> 'Test':
    """Returns `number` images; they are repeated if there are fewer."""
    chosen = np.arange(number) % len(self.labels)
    return Test(self.images[chosen], self.labels[chosen])


def write_test(folder: str, test: Test) -> None:
  """Writes the images that all sides answer."""
  np.savez(pathlib.Path(folder, FILE), **test._asdict())


def read_test(folder: str) -> Test:
  """Reads them."""
  with np.load(pathlib.Path(folder, FILE)) as arrays:
    return Test(arrays['images'], arrays['labels'])


def in_batches(images: np.ndarray, batch: int) -> np.ndarray:
  """Returns images as [N / batch, batch, ..]."""
  return images.reshape(-1, batch, *images.shape[1:])


def mean_ms(call: Call, batches: np.ndarray) -> float:
  """Returns the milliseconds of a call, the mean over some batches.

  The first batch comes first once more, to warm up, unless it is the only one: a call that takes
  as long as a whole measurement loses nothing that counts by cold caches.
  """
  if len(batches) > 1:
    call(batches[0])
  began = time.perf_counter()
  for images in batches:
    call(images)
  return (time.perf_counter() - began) * 1000 / len(batches)


def effect(exits: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Returns the mean exit, from 0, and the accuracy of some answers."""
  right = logits.argmax(axis=-1) == labels
  return {'mean_exit': float(exits.mean()), 'accuracy': float(right.mean())}


def saved(spent: np.ndarray, exits: np.ndarray) -> dict[str, Any]:
  """Returns the time that early exit saves, and the saving that the segments' times allow.

  The median over the turns of a batch counts; the result has the mean over the batches.

  Args:
    spent: milliseconds [turns, batches, 2 + exits]: the whole network without early exits, early
      exit, and every segment with all images of the batch.
    exits: int [batches, batch], where images leave.

  Returns:
    as of `mecl_jax.inference.measure_saving`. `allowed_ms` is the sum of the segments' times, each
    times the share of the images that reach it, also for a fixed exit, since a bundle runs all
    heads on the way to it.
  """
  reached = (exits[..., None] >= np.arange(spent.shape[-1] - 2)).mean(axis=1)
  allowed = (reached * spent[..., 2:]).sum(axis=-1)
  times = np.stack([spent[..., 0], spent[..., 1], allowed])
  static, dynamic, allowed_ms = np.median(times, axis=1).mean(axis=1).tolist()
  can, does = 1 - allowed_ms / static, 1 - dynamic / static
  return {
    'static_ms': static,
    'allowed_ms': allowed_ms,
    'dynamic_ms': dynamic,
    'allowed_saving': can,
    'measured_saving': does,
    'share_reached': does / can if can > 0 else None,
  }
