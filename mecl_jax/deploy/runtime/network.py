"""The network: a chain of segments that stops early."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import math
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

from mecl_jax.deploy.runtime.errors import BundleError, first_line, need
from mecl_jax.deploy.runtime.files import read_bundle
from mecl_jax.deploy.runtime.models import Coders, open_model
from mecl_jax.deploy.runtime.remote import Server
from mecl_jax.deploy.runtime.rules import Policy, finite, top_class, top_probability

HERE = pathlib.Path(__file__).resolve().parent
MARGIN, FORGET = 1.2, 0.2  # factor for expected times; share by which the slow-down falls


class Answers(NamedTuple):
  """Answers to N images."""

  classes: np.ndarray  # int [N], numbers of the predicted classes
  exits: np.ndarray  # int [N], numbers of the exits that answered, from 0
  logits: np.ndarray  # float32 [N, classes], of these exits
  probabilities: np.ndarray  # float64 [N], of these classes, scaled by the exit's temperature


class Answer(NamedTuple):
  """Answer to one image."""

  class_name: str
  class_number: int
  exit: int  # number of the exit that answered, from 0
  logits: np.ndarray  # float32 [classes], of this exit
  probability: float  # of the class, scaled by the exit's temperature
  elapsed_ms: float  # since the call
  in_time: bool  # true without a deadline
  server: str = ''  # 'answered', or why it did not; empty if it was not needed


class Network:
  """A network that answers each image at the first exit that is confident enough.

  All methods raise BundleError if the bundle or the input cannot be used.

  Args:
    folder: of the bundle; by default that of this file.
    threads: processor threads of a segment, 1 or more; None leaves the number to onnxruntime.

  Attributes:
    bundle: the fields of bundle.json.
    coders: its bottlenecks.
    segment_ms: measured milliseconds of each segment for one image; empty before `measure`.
    slowdown: times of the last segments relative to `segment_ms`, 1 or more.
  """

  def __init__(self, folder: Any = HERE, threads: int | None = None):
    self.bundle, files = read_bundle(folder)
    self._policies = {name: Policy(each) for name, each in self.bundle['policies'].items()}
    self._temperatures = [each['temperature'] for each in self.bundle['exits']]
    self._shape = tuple(self.bundle['image_shape'])
    self.coders = Coders(self.bundle, files, threads)
    self._segments, inputs = [], ['images']
    for each in self.bundle['exits']:
      session = open_model(files[each['file']], each['file'], threads)
      outputs = [feature['name'] for feature in each['features']]
      before = ['before'] if each['takes_before'] else []
      self._segments.append((session.run, [*inputs, *before], ['logits', *outputs], each['file']))
      inputs = outputs
    self.segment_ms: list[float] = []
    self.slowdown = 1.0
    self._check_outputs()

  def __call__(self, images: Any, policy: str | None = None, batch_size: int = 64) -> Answers:
    """Answers images, uint8 [N, height, width, channels], `batch_size` at a time.

    After each segment, the images that are confident enough leave; the others are gathered.
    """
    chosen = self.policy(policy)
    self._check_images(images)
    need(batch_size > 0, f'batch_size is {batch_size}; it must be 1 or more')
    starts = range(0, len(images), batch_size)
    parts = [self.run_batch(images[k : k + batch_size], chosen) for k in starts]
    exits, logits = (np.concatenate(part) for part in zip(*parts))
    probabilities = top_probability(logits, np.array(self._temperatures)[exits])
    return Answers(logits.argmax(axis=-1), exits, logits, probabilities)

  def answer(
    self,
    image: Any,
    deadline_ms: float | None = None,
    policy: str | Policy | None = None,
    segments: int | None = None,
    server: Server | None = None,
  ) -> Answer:
    """Answers one image, uint8 [height, width, channels].

    With a deadline, in milliseconds from the call on, a segment runs only if there is time for it;
    with a number of `segments`, no more than these run. Without a policy, that alone decides. The
    first exit always answers, even if late. The first call with a deadline measures the times of
    the segments, unless `measure` was called before.

    With a server, an image that has not left at its exit is sent there, if the answer is expected
    by the deadline. Without an answer, the image continues here.
    """
    began, images = time.perf_counter(), image[None] if isinstance(image, np.ndarray) else image
    self._check_images(images)
    limited = (deadline_ms is not None or segments is not None) and server is None
    chosen = None if limited and policy is None else self.policy(policy)
    need(segments is None or segments > 0, f'segments is {segments}; it must be 1 or more')
    if deadline_ms is not None:
      self.prepare(deadline_ms, server)
    end = math.inf if deadline_ms is None else deadline_ms
    outcome, found = '', None
    if server is not None and server.start == 0:
      found = server.ask([images], None, end - ms_since(began))
      number, outcome = server.stop, server.outcome
    elapsed = ms_since(began)
    for number, (x, by_exit) in enumerate(() if found is not None else self.walk([images])):
      if deadline_ms is not None:
        before, elapsed = elapsed, ms_since(began)
        self._observe(number, elapsed - before)
      if chosen and chosen.leaving(by_exit)[0]:
        break
      if server is not None and server.start == number + 1:
        codes = self.encode(x, server)
        found = server.ask(codes, by_exit[-1], end - ms_since(began))
        outcome = server.outcome
        if found is not None:
          number = server.stop
          break
        elapsed = ms_since(began)
      if number + 1 == segments:
        break
      if deadline_ms is not None and not self._has_time(number + 1, deadline_ms - elapsed):
        break
    logits = finite(by_exit[-1])[0] if found is None else found
    label, probability = top_class(logits, self._temperatures[number])
    name, elapsed = self.bundle['class_names'][label], ms_since(began)
    return Answer(name, label, number, logits, probability, elapsed, elapsed <= end, outcome)

  def stream(
    self,
    images: Iterable[Any],
    deadline_ms: float | None = None,
    policy: str | Policy | None = None,
    server: Server | None = None,
  ) -> Iterator[Answer]:
    """Returns the answers to images one by one, as they come; see `answer`.

    With a deadline, it measures the times of the segments before the first image.
    """
    self.policy(policy)  # an unknown name is an error now, not at the first image
    if deadline_ms is not None:
      self.prepare(deadline_ms, server)
    return (self.answer(image, deadline_ms, policy, server=server) for image in images)

  def measure(self, seconds: float = 0.5) -> np.ndarray:
    """Measures `segment_ms`, which are medians; returns all times, ms [rounds, exits]."""
    image, end = self.noise(1), time.perf_counter() + seconds
    rounds: list[np.ndarray] = []
    while len(rounds) < 5 or time.perf_counter() < end:
      marks = [time.perf_counter(), *(time.perf_counter() for _ in self._chain(image))]
      rounds.append(np.diff(marks) * 1000)
    self.segment_ms, self.slowdown = np.median(rounds, axis=0).clip(min=1e-6).tolist(), 1.0
    return np.array(rounds)

  def noise(self, number: int) -> np.ndarray:
    """Returns images of noise, uint8 [number, height, width, channels]."""
    shape = (number, *self.bundle['image_shape'])
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

  def measure_server(self, server: Server) -> None:
    """Measures the time of a request to a server, with noise."""
    x: list[np.ndarray] = [self.noise(1)]
    by_exit: list[np.ndarray] = []
    for number in range(server.start):
      x = self._run(number, x, by_exit)
    x = self.encode(x, server)
    server.expect(x, by_exit[-1] if by_exit else None)

  def encode(self, x: list[np.ndarray], server: Server) -> list[np.ndarray]:
    """Returns what is sent to a server: the features before its first segment, or their codes."""
    return self.coders.encode(x, server.start, server.send_as)

  def policy(self, name: str | Policy | None) -> Policy:
    """Returns the policy of this name; by default, that of the bundle."""
    if isinstance(name, Policy):
      return name
    name = self.bundle['default_policy'] if name is None else name
    need(name in self._policies, f'policy {name!r} is not one of {", ".join(self._policies)}')
    return self._policies[name]

  def run_batch(self, images: np.ndarray, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Returns the exits int [n] and the logits [n, classes] of images that run together."""
    here, x = np.arange(len(images)), [images]
    by_exit: list[np.ndarray] = []
    exits = np.empty(len(images), int)
    answered = np.empty((len(images), len(self.bundle['class_names'])), np.float32)
    for number in range(policy.last + 1):
      x = self._run(number, x, by_exit)
      leaving = policy.leaving(by_exit, here)
      if leaving.any():
        exits[here[leaving]], answered[here[leaving]] = number, by_exit[-1][leaving]
        rest = np.flatnonzero(~leaving)
        if not len(rest):
          break
        here, x, by_exit = here[rest], [f[rest] for f in x], [z[rest] for z in by_exit]
    return exits, finite(answered)

  def prepare(self, deadline_ms: float, server: Server | None = None) -> None:
    """Checks a deadline, and measures what is needed to keep it, unless it was measured before."""
    need(not math.isnan(deadline_ms), 'the deadline is not a number')
    if not self.segment_ms:
      self.measure()
    if server is not None and server.expected_ms is None:
      self.measure_server(server)

  def _observe(self, number: int, elapsed_ms: float) -> None:
    """Updates the slow-down: it rises at once and falls gradually, since late is worse."""
    now = max(1.0, elapsed_ms / self.segment_ms[number])
    self.slowdown = max(now, self.slowdown + FORGET * (now - self.slowdown))

  def _has_time(self, number: int, left_ms: float) -> bool:
    """Returns whether there is a segment with this number, and time for it."""
    if number == len(self.segment_ms):
      return False
    return self.segment_ms[number] * MARGIN * self.slowdown <= left_ms

  def _run(self, number: int, x: list[np.ndarray], by_exit: list[np.ndarray]) -> list[np.ndarray]:
    """Runs a segment: appends its logits to those of the exits before, returns its features."""
    run, names, outputs, file = self._segments[number]
    try:  # `zip` drops the logits before where no name 'before' is left for them
      logits, *x = run(outputs, dict(zip(names, [*x, *by_exit[-1:]])))
    except Exception as error:  # onnxruntime raises many kinds
      raise BundleError(f'{file} cannot be run: {first_line(error)}') from None
    by_exit.append(logits)
    return x

  def _chain(self, images: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yields the logits of the exits so far after each segment; segments run on demand."""
    return (by_exit for _, by_exit in self.walk([images]))

  def walk(
    self, x: list[np.ndarray], start: int = 0, before: np.ndarray | None = None
  ) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Yields the features and the logits of the exits so far after each segment, on demand.

    Args:
      x: the images, or the features of the segment before `start`.
      start: number of the first segment that runs, from 0.
      before: logits of the exit before it; None if it does not take them.
    """
    by_exit = [] if before is None else [before]
    for number in range(start, len(self._segments)):
      x = self._run(number, x, by_exit)
      yield x, by_exit

  def _check_images(self, images: Any) -> None:
    is_array = isinstance(images, np.ndarray)
    if not is_array or images.dtype != np.uint8 or images.shape[1:] != self._shape:
      found = f'{images.dtype} {list(images.shape[1:])}' if is_array else type(images).__name__
      shape = list(self._shape)
      raise BundleError(f'an image is {found}; it must be a NumPy array, uint8 {shape}')
    need(len(images), 'there are no images')

  def _check_outputs(self) -> None:
    """Runs all segments once: the first run is slower, and the outputs must fit the bundle."""
    classes = len(self.bundle['class_names'])
    x: list[np.ndarray] = [self.noise(1)]
    by_exit: list[np.ndarray] = []
    for number, each in enumerate(self.bundle['exits']):
      x = self._run(number, x, by_exit)
      arrays = map(np.asarray, [by_exit[-1], *x])
      found = [(str(array.dtype), list(array.shape[1:])) for array in arrays]
      expected = [('float32', [classes]), *((f['dtype'], f['shape']) for f in each['features'])]
      need(found == expected, f'{each["file"]} returns {found}; bundle.json has {expected}')


def ms_since(began: float) -> float:
  """Returns the milliseconds since a time of `time.perf_counter`."""
  return (time.perf_counter() - began) * 1000
