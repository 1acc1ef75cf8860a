"""Early exit that is real: examples that are sure enough leave, and the rest goes on."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import jax
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation.metrics import checked
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import check_same_exits
from mecl_jax.inference import quick
from mecl_jax.inference.segments import Chain, cut
from mecl_jax.inference.steps import compile_steps, padded
from mecl_jax.models import MultiExit

NEAR = 1e-9  # of confidences: by far more than the last bits that `quick` leaves open


class Answers(NamedTuple):
  """What was said of N images.

  Attributes:
    classes: int [N].
    exits: int [N], the number of the exit that answered, from 0.
    logits: [N, classes] of that exit.
  """

  classes: np.ndarray
  exits: np.ndarray
  logits: np.ndarray


class EarlyExit:
  """A network that answers each image at the first exit that is sure enough of it.

  After every segment the examples that reach the threshold of their exit leave. The others are
  gathered and go on, in calls of a few fixed sizes that are compiled beforehand: which ones they
  are, and how many, compiles nothing. A batch size of 1 goes from segment to segment as it is.

  Classes and exits are those of `policy.leaves_at(predict(model, images))` as far as the logits
  are: for another number of images XLA sums in another order, so that in float32 they differ by
  about 1e-6 of the largest one. It takes a threshold that is itself the confidence of one of the
  images, to the last bit, to see it.

  Not for two threads at a time: features lie in memory that is used again.

  Args:
    model: put into evaluation mode; later changes of its parameters are not seen.
    policy: rule and thresholds, of as many exits.
    batch_size: images that go through together; features of so many are held for every exit.

  Raises:
    UserError: the policy is of another number of exits, or the batch size is below 1.
  """

  def __init__(self, model: MultiExit, policy: Policy, *, batch_size: int = 256):
    if batch_size < 1:
      raise UserError(f'the batch size is {batch_size}; it must be 1 or more')
    self._segments, self.batch_size = cut(model), batch_size
    self.policy = policy
    self._image_shape: tuple[int, ...] | None = None

  @property
  def policy(self) -> Policy:
    """Who leaves; another one of as many exits may take its place, and nothing compiles for it."""
    return self._policy

  @policy.setter
  def policy(self, policy: Policy) -> None:
    check_same_exits('a policy', policy.exits, len(self._segments))
    self._policy, self._thresholds = policy, policy.thresholds.tolist()

  def compile(self, image_shape: Sequence[int]) -> None:
    """Compiles for uint8 images of (height, width, channels), and times what there is to choose.

    The first call does it by itself; only images of another shape need it anew.
    """
    shape = tuple(image_shape)
    if self.batch_size == 1:
      self._chain = Chain(self._segments, (1, *shape))
    else:
      self._steps = compile_steps(self._segments, shape, self.batch_size)
    self._image_shape = shape

  def __call__(self, images: np.ndarray) -> Answers:
    """Answers images, uint8 [N, height, width, channels].

    Raises:
      UserError: there are none, or a logit is not a finite number.
    """
    if not len(images):
      raise UserError('there are no images to answer')
    if images.shape[1:] != self._image_shape:
      self.compile(images.shape[1:])
    run = self._one if self.batch_size == 1 else self._batch
    if len(images) <= self.batch_size:
      return run(images)
    starts = range(0, len(images), self.batch_size)
    parts = [run(images[start : start + self.batch_size]) for start in starts]
    return Answers(*(np.concatenate(each) for each in zip(*parts, strict=True)))

  def _one(self, image: np.ndarray) -> Answers:
    """Of an image [1, height, width, channels].

    Between two segments the processor has forgotten all of NumPy and much of Python: each function
    that is not called here saves more than it would take in a loop of its own.
    """
    said = list[list[float]]()
    for logits in self._chain(image):
      answer = np.asarray(logits)
      said.append(answer[0].tolist())
      if self._stops(said):
        break
    if not math.isfinite(sum(said[-1])):
      checked(answer)
    predicted = said[-1].index(max(said[-1]))
    return Answers(np.array([predicted]), np.array([len(said) - 1]), answer)

  def _stops(self, said: list[list[float]]) -> bool:
    """Whether one example leaves now, by its logits [exits so far][classes]."""
    if len(said) > len(self._thresholds):
      return True
    sure, threshold = quick.confidence(self._policy.rule, said), self._thresholds[len(said) - 1]
    if abs(sure - threshold) > NEAR:
      return sure > threshold
    return bool(self._leaving(np.array([said]))[0])  # too near to say, or not a number

  def _batch(self, images: np.ndarray) -> Answers:
    """Of n images, at most a batch."""
    first = self._steps[0]
    x = jax.device_put(padded(images, first.capacity))
    said = np.empty((len(images), self.policy.exits, *first.logits.shape[1:]), first.logits.dtype)
    exits = np.empty(len(images), int)
    here = rows = np.arange(len(images))  # who is left, and where their features lie
    for number, step in enumerate(self._steps):
      said[here, number] = step(x, said[here, number - 1], rows)
      leaving = self._leaving(said[here, : number + 1])
      exits[here[leaving]] = number
      rows = np.flatnonzero(~leaving)
      here, x = here[rows], step.features
      if not len(here):
        break
    logits = checked(said[np.arange(len(images)), exits])
    return Answers(logits.argmax(axis=-1), exits, logits)

  def _leaving(self, said: np.ndarray) -> np.ndarray:
    """Who leaves now, bool [n], by the logits [n, exits so far, classes]."""
    number = said.shape[1] - 1
    if number == self.policy.exits - 1:
      return np.ones(len(said), bool)
    return self.policy.rule.confidence(said)[:, number] >= self.policy.thresholds[number]
