"""An answer by a deadline: the deepest exit that there is time for."""

from collections.abc import Sequence
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mecl_jax.errors import UserError
from mecl_jax.inference.segments import Chain, cut
from mecl_jax.models import MultiExit

WARM_UP = 3  # runs after compiling, so that the first deadline is like any other


class Answer(NamedTuple):
  """What was said of B images.

  Attributes:
    logits: [B, classes].
    exit: the number of the exit that they are of, from 0.
    elapsed_ms: from the call on.
    in_time: whether that is within the deadline.
  """

  logits: np.ndarray
  exit: int
  elapsed_ms: float
  in_time: bool


class Anytime:
  """A network that answers as deep as a deadline allows.

  Before each segment it asks whether the time until now and that of the segment fit. A segment is
  expected to take its measured time, times a margin, times how much slower than measured the last
  ones were: with other processes beside it, a machine is not what it was. That slow-down rises at
  once, as a late answer is worse than a shallow one, and is forgotten bit by bit. The first exit
  always answers, be it late.

  Args:
    model: put into evaluation mode; later changes of its parameters are not seen.
    segment_ms: [exits], as `Latency.segment_ms` for as many images as are answered at a time.
    margin: that measured times are multiplied by.
    forget: share of the slow-down that each faster segment takes away, above 0 to 1; None: none is
      ever expected.

  Raises:
    UserError: there are times of another number of exits, or one that is not above 0.

  Attributes:
    slowdown: of the last segments against their measured times, 1 or more; it outlasts a call.
  """

  def __init__(
    self,
    model: MultiExit,
    segment_ms: ArrayLike,
    *,
    margin: float = 1.2,
    forget: float | None = 0.2,
  ):
    expected, exits = np.asarray(segment_ms, np.float64), len(model.exit_names)
    if expected.shape != (exits,) or not (expected > 0).all():
      raise UserError(
        f'segment times are {expected.tolist()} ms, not {exits} above 0; measure them again'
      )
    self._segments, self._expected = cut(model), expected.tolist()
    self._margin, self._forget, self.slowdown = margin, forget, 1.0
    self._form: tuple[int, ...] | None = None

  def compile(self, images_shape: Sequence[int]) -> None:
    """Compiles for uint8 images of (number, height, width, channels), and warms up.

    The first call does it by itself, and is late for it; call this before the first deadline.
    """
    self._form = tuple(images_shape)
    self._chain = Chain(self._segments, self._form)
    for _ in range(WARM_UP):
      for logits in self._chain(np.zeros(self._form, np.uint8)):
        logits.block_until_ready()

  def answer(self, images: np.ndarray, deadline_ms: float) -> Answer:
    """Answers images, uint8 [B, height, width, channels], by a deadline, ms from the call on."""
    began = time.perf_counter()
    if images.shape != self._form:
      self.compile(images.shape)
    elapsed = (time.perf_counter() - began) * 1000
    for number, logits in enumerate(self._chain(images)):
      said, before = np.asarray(logits), elapsed
      elapsed = (time.perf_counter() - began) * 1000
      self._observe((elapsed - before) / self._expected[number])
      if not self._fits(number + 1, deadline_ms - elapsed):
        break
    return Answer(said, number, elapsed, elapsed <= deadline_ms)

  def _observe(self, ratio: float) -> None:
    """Learns of a segment that took `ratio` times its measured time."""
    if self._forget is not None:
      now = max(1.0, ratio)
      self.slowdown = max(now, self.slowdown + self._forget * (now - self.slowdown))

  def _fits(self, number: int, left_ms: float) -> bool:
    """Whether there is a segment of this number, and time for it."""
    if number == len(self._expected):
      return False
    return self._expected[number] * self._margin * self.slowdown <= left_ms
