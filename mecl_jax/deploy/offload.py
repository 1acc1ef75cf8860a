"""Simulation of a network split between a device and a server: pure functions of NumPy arrays.

Segments up to an exit run on the device. An image that is not sure there may be sent on, to be
answered by a later exit on the server.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import NamedTuple

import numpy as np

from mecl_jax.deploy.link import Link
from mecl_jax.deploy.runtime.network import MARGIN
from mecl_jax.deploy.runtime.remote import SLOWER

# Bytes of HTTP around the body of a request and of an answer.
REQUEST_HEAD, ANSWER_HEAD = 146, 79
DRAWS = 0  # seed of the measured rounds that images are given


class Way(NamedTuple):
  """A way to continue on the server: from segment `start` on, with features sent as `send_as`."""

  start: int
  send_as: str


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
  """What both sides predict for the images of a split.

  Attributes:
    name: 'validation' or 'test'.
    labels: int [N].
    confidence: float64 [N, exits], the largest probability of each exit on the device.
    classes: int [N, exits], predicted on the device.
    server_classes: int [N, exits] for each way to continue, predicted on the server from what is
      sent; valid for the exits from its start on.
  """

  name: str
  labels: np.ndarray
  confidence: np.ndarray
  classes: np.ndarray
  server_classes: Mapping[Way, np.ndarray]

  @property
  def exits(self) -> int:
    """Number of exits."""
    return self.classes.shape[1]

  def only(self, rows: np.ndarray) -> 'Side':
    """Returns the same for some images, by their numbers int [n]."""
    return Side(
      self.name,
      self.labels[rows],
      self.confidence[rows],
      self.classes[rows],
      {way: classes[rows] for way, classes in self.server_classes.items()},
    )


class Watts(NamedTuple):
  """Power of the device while it computes, sends, and waits for an answer, in watts."""

  compute: float
  send: float
  wait: float


@dataclasses.dataclass(frozen=True, eq=False)
class World:
  """All that the outcome depends on beside the network.

  Attributes:
    device_ms, server_ms: measured times of each segment, float64 [rounds, exits].
    request_ms: what requests took beside link and segments, float64 [rounds].
    link: between both.
    sizes: bytes of a body, for each way to continue.
    coding_ms: medians of the times to encode the features on the device and to decode them on the
      server, for the ways through a bottleneck.
    answer_size: bytes of the body of an answer.
    watts: of the device.
    deadline_ms: of an answer.
  """

  device_ms: np.ndarray
  server_ms: np.ndarray
  request_ms: np.ndarray
  link: Link
  sizes: Mapping[Way, int]
  coding_ms: Mapping[Way, tuple[float, float]]
  answer_size: int
  watts: Watts
  deadline_ms: float

  def up_ms(self, way: Way) -> float:
    """Returns how long a request occupies the link."""
    return self.link.sending_ms(self.sizes[way] + REQUEST_HEAD)

  def link_ms(self, way: Way) -> float:
    """Returns how long a request and its answer are on the link."""
    down = self.link.sending_ms(self.answer_size + ANSWER_HEAD)
    return self.up_ms(way) + self.link.round_trip + down


class Plan(NamedTuple):
  """What happens to an image.

  Attributes:
    kind: name of the kind of policy.
    way: to continue on the server; None: nothing is sent.
    stop: number of the exit that answers on the server, from 0.
    threshold: largest probability with which an image leaves at an exit of the device; infinity:
      it does not.
    in_time: whether segments run, and images are sent, only if that is expected to end by the
      deadline.
  """

  kind: str
  way: Way | None = None
  stop: int = -1
  threshold: float = math.inf
  in_time: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
  """What a plan does to N images.

  Attributes:
    classes: int [N], of the answers.
    exits: int [N], that answer, from 0.
    asked: bool [N], whether the image is sent to the server.
    answered: bool [N], whether the answer is that of the server; false if it comes too late.
    ms: float64 [N], until the answer.
    compute_ms: float64 [N], of the device.
    sent: float64 [N], bytes sent and received, with HTTP.
    energy_mj: float64 [N], millijoules of the device.
  """

  classes: np.ndarray
  exits: np.ndarray
  asked: np.ndarray
  answered: np.ndarray
  ms: np.ndarray
  compute_ms: np.ndarray
  sent: np.ndarray
  energy_mj: np.ndarray


def simulate(plan: Plan, side: Side, world: World) -> Outcome:
  """Simulates a plan; every image has the times of one measured round of each side.

  Decisions are those of `Network.answer` and `Server.ask`: with a deadline, a segment runs if its
  median time, with a margin, is left, and a request is sent likewise. An answer that is late then
  leaves the device with that of its own exit.
  """
  count, last = len(side.labels), side.exits - 1
  draw = np.random.default_rng(DRAWS)
  device = world.device_ms[draw.integers(len(world.device_ms), size=count)]
  server = world.server_ms[draw.integers(len(world.server_ms), size=count)]
  request = world.request_ms[draw.integers(len(world.request_ms), size=count)]
  usual, end = np.median(world.device_ms, axis=0), world.deadline_ms
  exits, ms = np.full(count, -1), np.zeros(count)
  asked, answered = np.zeros(count, bool), np.zeros(count, bool)
  compute, active = np.zeros(count), np.ones(count, bool)

  def send(way: Way) -> np.ndarray:
    """Returns which of the active images have an answer of the server, or none in time."""
    span, (encoding, decoding) = slice(way.start, plan.stop + 1), world.coding_ms.get(way, (0, 0))
    compute[active] += encoding
    now = compute
    arrival = now + world.link_ms(way) + request + decoding + server[:, span].sum(axis=1)
    going = active.copy()
    if plan.in_time:
      segments = np.median(world.server_ms[:, span].sum(axis=1))
      answer = world.link_ms(way) + np.median(world.request_ms) + decoding + segments
      going &= now + SLOWER * answer <= end
    late = going & (arrival > end) if plan.in_time else np.zeros(count, bool)
    asked[going], answered[going & ~late] = True, True
    exits[going & ~late], exits[late] = plan.stop, way.start - 1
    ms[going] = np.where(late, end, arrival)[going]
    return going

  if plan.way and plan.way.start == 0:
    active &= ~send(plan.way)
  for number in range(side.exits):
    compute[active] += device[active, number]
    leaving = active & ((side.confidence[:, number] >= plan.threshold) | (number == last))
    exits[leaving], ms[leaving] = number, compute[leaving]
    active &= ~leaving
    if plan.way and plan.way.start == number + 1:
      active &= ~send(plan.way)
    if plan.in_time and number < last:
      leaving = active & (compute + MARGIN * usual[number + 1] > end)
      exits[leaving], ms[leaving] = number, compute[leaving]
      active &= ~leaving
  rows = np.arange(count)
  classes = side.classes[rows, exits]
  if plan.way:
    classes = np.where(answered, side.server_classes[plan.way][rows, exits], classes)
  costs = _costs(plan, world, asked, ms, compute)
  return Outcome(classes, exits, asked, answered, ms, compute, *costs)


def _costs(
  plan: Plan, world: World, asked: np.ndarray, ms: np.ndarray, compute_ms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns bytes and millijoules of each image."""
  if plan.way is None:
    return np.zeros(len(ms)), world.watts.compute * compute_ms
  size = world.sizes[plan.way] + world.answer_size + REQUEST_HEAD + ANSWER_HEAD
  up_ms = np.where(asked, world.up_ms(plan.way), 0)
  waited_ms = (ms - compute_ms - up_ms).clip(min=0)
  energy = world.watts.compute * compute_ms + world.watts.send * up_ms
  return np.where(asked, size, 0.0), energy + world.watts.wait * np.where(asked, waited_ms, 0)


def summary(outcome: Outcome, labels: np.ndarray, deadline_ms: float) -> dict[str, float]:
  """Returns means over the images: accuracy, times, bytes, energy, shares sent and in time."""
  return {
    'accuracy': float((outcome.classes == labels).mean()),
    'mean_ms': float(outcome.ms.mean()),
    'p95_ms': float(np.percentile(outcome.ms, 95)),
    'bytes': float(outcome.sent.mean()),
    'energy_mj': float(outcome.energy_mj.mean()),
    'sent': float(outcome.asked.mean()),
    'in_time': float((outcome.ms <= deadline_ms).mean()),
  }
