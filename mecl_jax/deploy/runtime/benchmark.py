"""The benchmark: latency at each exit, throughput of each policy, deadlines met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import itertools
import time
from typing import Any

import numpy as np

from mecl_jax.deploy.runtime.network import Answer, Network, ms_since
from mecl_jax.deploy.runtime.rules import Policy

BATCH = 64  # images


class PlannedExits(Policy):
  """A policy that decides as always, but whose images leave at planned exits.

  Times depend on the exits and not on what images show, so images of noise can be timed.

  Args:
    fields: of a policy in bundle.json.
    exits: int [n], for the images of a batch.
  """

  def __init__(self, fields: dict[str, Any], exits: np.ndarray):
    super().__init__(fields)
    self._exits = exits.clip(max=self.last)

  def leaving(self, by_exit: list[np.ndarray], rows: Any = 0) -> np.ndarray:
    super().leaving(by_exit)
    return self._exits[rows] == len(by_exit) - 1


def benchmark(
  network: Network, seconds: float, policies: Iterable[str]
) -> Iterator[dict[str, Any]]:
  """Yields rows of three tables: latency at each exit, throughput, deadlines."""
  reached = np.cumsum(network.measure(seconds / 3), axis=1)
  median, p95 = np.percentile(reached, [50, 95], axis=0).tolist()
  for number, each in enumerate(network.bundle['exits']):
    ms = {'median_ms': median[number], 'p95_ms': p95[number]}
    yield {'exit': number, 'name': each['name'], **ms}
  names = list(policies)
  for name in names:
    yield _throughput(network, name, seconds / 6 / len(names))
  for part in (0.5, 0.75, 1):
    yield _deadline(network, part, part * median[-1], seconds / 9)


def _throughput(network: Network, name: str, seconds: float) -> dict[str, Any]:
  """Returns images per second at a batch of 1 and of `BATCH`; they leave as test images do."""
  fields, images = network.bundle['policies'][name], network.noise(BATCH)
  ends = np.cumsum(fields['test']['share'])[:-1]
  exits = np.searchsorted(ends, (np.arange(BATCH) + 0.5) / BATCH)
  exits = np.random.default_rng(0).permutation(exits)
  row = {'policy': name, 'mean_exit': float(exits.mean())}
  for size in (1, BATCH):
    parts = [slice(start, start + size) for start in range(0, BATCH, size)]
    batches = itertools.cycle([(images[part], PlannedExits(fields, exits[part])) for part in parts])
    done, began = 0, time.perf_counter()
    while done < BATCH or ms_since(began) < 1000 * seconds:
      network.run_batch(*next(batches))
      done += size
    row[f'images_per_s_at_{size}'] = 1000 * done / ms_since(began)
  return row


def _deadline(network: Network, part: float, ms: float, seconds: float) -> dict[str, Any]:
  """Returns how many answers are within a deadline, which is a part of the whole latency."""
  image, began = network.noise(1)[0], time.perf_counter()
  answers: list[Answer] = []
  while len(answers) < 5 or ms_since(began) < 1000 * seconds:
    answers.append(network.answer(image, deadline_ms=ms))
  in_time, exits = np.mean([(each.in_time, each.exit) for each in answers], axis=0).tolist()
  row = {'deadline': f'{part:.0%} of the last exit', 'deadline_ms': ms}
  return {**row, 'share_in_time': in_time, 'mean_exit': exits}
