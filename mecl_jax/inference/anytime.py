"""Answers by a deadline: the deepest exit that there is time for."""

from collections.abc import Sequence
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mecl_jax.errors import UserError
from mecl_jax.inference.segments import Chain, cut
from mecl_jax.models import MultiExit

WARM_UP = 3  # runs after compiling; the first ones are slower


class Answer(NamedTuple):
  """Prediction for B images.

  Attributes:
    logits: float [B, classes].
    exit: number of the exit that answered, from 0.
    elapsed_ms: milliseconds since the call.
    in_time: whether that is within the deadline.
  """

  logits: np.ndarray
  exit: int
  elapsed_ms: float
  in_time: bool


class Anytime:
  """A network that answers at the deepest exit that a deadline allows.

  A segment runs if its expected time fits into the rest of the deadline. The expected time is its
  measured time, times a margin, times the slow-down: the ratio of the times of the last segments to
  their measured times, which rises when other processes run. The slow-down rises at once, since a
  late answer is worse than one from an earlier exit, and falls gradually. The first exit always
  answers, even if late.

  Args:
    model: is put into evaluation mode; later changes of its parameters have no effect.
    segment_ms: float [exits], milliseconds, as from `Latency.segment_ms` at the batch size of the
      calls.
    margin: factor for measured times.
    forget: share by which the slow-down approaches a lower ratio with each segment, above 0 to 1;
      None keeps it at 1.

  Raises:
    UserError: the times are of another number of exits, or one is not above 0.

  Attributes:
    slowdown: present slow-down, 1 or more; it is kept between calls.
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
        f'segment times are {expected.tolist()} ms; they must be {exits} numbers above 0:'
        ' measure them again'
      )
    self._segments, self._expected = cut(model), expected.tolist()
    self._margin, self._forget, self.slowdown = margin, forget, 1.0
    self._form: tuple[int, ...] | None = None

  def compile(self, images_shape: Sequence[int]) -> None:
    """Compiles for uint8 images of (number, height, width, channels), and warms up.

    The first call compiles if this was not called, and then misses its deadline.
    """
    self._form = tuple(images_shape)
    self._chain = Chain(self._segments, self._form)
    for _ in range(WARM_UP):
      for logits in self._chain(np.zeros(self._form, np.uint8)):
        logits.block_until_ready()

  def answer(self, images: np.ndarray, deadline_ms: float) -> Answer:
    """Answers images by a deadline.

    Args:
      images: uint8 [B, height, width, channels].
      deadline_ms: milliseconds from the call on.

    Returns:
      the answer of the deepest exit that there was time for.
    """
    began = time.perf_counter()
    if images.shape != self._form:
      self.compile(images.shape)
    elapsed = (time.perf_counter() - began) * 1000
    for number, at_exit in enumerate(self._chain(images)):
      logits, before = np.asarray(at_exit), elapsed
      elapsed = (time.perf_counter() - began) * 1000
      self._observe((elapsed - before) / self._expected[number])
      if not self._fits(number + 1, deadline_ms - elapsed):
        break
    return Answer(logits, number, elapsed, elapsed <= deadline_ms)

  def _observe(self, ratio: float) -> None:
    """Updates the slow-down after a segment that took `ratio` times its measured time."""
    if self._forget is not None:
      now = max(1.0, ratio)
      self.slowdown = max(now, self.slowdown + self._forget * (now - self.slowdown))

  def _fits(self, number: int, left_ms: float) -> bool:
    """Returns whether there is a segment with this number, and time for it."""
    if number == len(self._expected):
      return False
    return self._expected[number] * self._margin * self.slowdown <= left_ms
