"""Early exit: examples whose exit is confident enough leave, the others continue."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import jax
import numpy as np

from mecl_jax.errors import UserError
from mecl_jax.evaluation.metrics import checked
from mecl_jax.evaluation.policies import Policy
from mecl_jax.evaluation.predictions import check_same_exits
from mecl_jax.evaluation.rules import ByExit
from mecl_jax.inference.segments import Chain, alone, cut
from mecl_jax.inference.steps import compile_steps, padded
from mecl_jax.models import MultiExit


class Answers(NamedTuple):
  """Predictions for N images.

  Attributes:
    classes: int [N], the predicted classes; without meaning in tasks without classes.
    exits: int [N], the number of the exit that answered, from 0.
    logits: float [N, classes], of that exit; log odds of labels, or numbers in the unit of the
      targets, in other tasks.
  """

  classes: np.ndarray
  exits: np.ndarray
  logits: np.ndarray


class EarlyExit:
  """A network that answers each image at the first exit that is confident enough.

  After every segment, the examples that reach the threshold of their exit leave. The others are
  gathered and continue, in calls of a few fixed sizes that are compiled in advance. So nothing is
  compiled for a number of remaining examples. With a batch size of 1, an image goes from segment to
  segment as it is. With a fixed exit, the network up to it is one program, no other head runs, and
  nothing is decided.

  Classes and exits are those of `policy.leaves_at(predict(model, images))`, up to the rounding of
  the logits: XLA adds up in another order for another number of images, so float32 logits differ by
  about 1e-6 of the largest one. An exit can change only where a confidence is that close to its
  threshold.

  Not for use by two threads at a time: calls reuse the same memory for features.

  Args:
    model: is put into evaluation mode; later changes of its parameters have no effect.
    policy: rule and thresholds, for as many exits as the model has.
    batch_size: images per batch, 1 or more; features of one batch are held for every exit.

  Raises:
    UserError: the policy is for another number of exits, or the batch size is below 1.

  Examples:
    >>> from mecl_jax import models
    >>> from mecl_jax.evaluation import Policy, Rule
    >>> model = models.build(
    ...   backbone='resnet8', exits=('stage1',), head='linear', num_classes=3,
    ...   image_shape=(8, 8, 3), mean=np.zeros(3), std=np.ones(3), seed=0,
    ... )
    >>> policy = Policy(Rule('margin'), np.array([0.0]))  # a margin is never below 0
    >>> answers = EarlyExit(model, policy, batch_size=1)(np.zeros((2, 8, 8, 3), np.uint8))
    >>> answers.exits.tolist(), answers.logits.shape
    ([0, 0], (2, 3))
  """

  def __init__(self, model: MultiExit, policy: Policy, *, batch_size: int = 256):
    if batch_size < 1:
      raise UserError(f'the batch size is {batch_size}; it must be 1 or more')
    self._early, self.batch_size = cut(model), batch_size
    self._alone = [alone(model, name) for name in model.exit_names]
    self._image_shape: tuple[int, ...] | None = None
    self._policy: Policy
    self.policy = policy

  @property
  def policy(self) -> Policy:
    """Rule and thresholds; may be replaced by those for as many exits.

    Between two rules nothing is compiled again; between a rule and a fixed exit the next call
    compiles.
    """
    return self._policy

  @policy.setter
  def policy(self, policy: Policy) -> None:
    check_same_exits('a policy', policy.exits, len(self._early))
    stop = policy.fixed_exit
    if self._image_shape is not None and stop != self._policy.fixed_exit:
      self._image_shape = None  # other programs
    self._policy = policy
    self._segments = self._early if stop is None else (self._alone[stop],)
    self._thresholds = policy.thresholds.tolist() if stop is None else []
    self._first_exit = stop or 0  # number of the exit of the first segment

  def compile(self, image_shape: Sequence[int]) -> None:
    """Compiles for uint8 images of (height, width, channels), and times calls of each size.

    The first call compiles by itself; only images of another shape need it again.
    """
    shape = tuple(image_shape)
    if self.batch_size == 1:
      self._chain = Chain(self._segments, (1, *shape))
    else:
      self._steps = compile_steps(self._segments, shape, self.batch_size)
    self._image_shape = shape

  def __call__(self, images: np.ndarray) -> Answers:
    """Answers images.

    Args:
      images: uint8 [N, height, width, channels].

    Returns:
      the answers, in the order of the images.

    Raises:
      UserError: there are no images, or a logit is not a finite number.
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
    """Answers one image, [1, height, width, channels]."""
    so_far, early = list[np.ndarray](), len(self._thresholds)
    for number, logits in enumerate(self._chain(image)):
      so_far.append(np.asarray(logits))
      if number < early and self._policy.rule.one_reaches(so_far, self._thresholds[number]):
        break
    answer = so_far[-1]
    if not math.isfinite(sum(answer[0].tolist())):  # faster for few numbers than `checked`
      checked(answer)
    return Answers(answer.argmax(axis=-1), np.array([self._first_exit + number]), answer)

  def _batch(self, images: np.ndarray) -> Answers:
    """Answers n images, at most a batch."""
    first = self._steps[0]
    x = jax.device_put(padded(images, first.capacity))
    form = first.logits
    logits = np.empty((len(self._steps), len(images), *form.shape[1:]), form.dtype)
    exits = np.empty(len(images), int)
    here = rows = np.arange(len(images))  # examples that remain, and the rows of their features
    for number, step in enumerate(self._steps):
      logits[number, here] = step(x, logits[number - 1, here], rows)
      leaving = self._leaving([of_exit[here] for of_exit in logits[: number + 1]])
      exits[here[leaving]] = number
      rows = np.flatnonzero(~leaving)
      here, x = here[rows], step.features
      if not len(here):
        break
    answered = logits[exits, np.arange(len(images))]
    return Answers(answered.argmax(axis=-1), self._first_exit + exits, answered)

  def _leaving(self, by_exit: ByExit) -> np.ndarray:
    """Returns which of n examples leave now, bool [n]."""
    number = len(by_exit) - 1
    if number == len(self._thresholds):
      return np.ones(len(checked(by_exit[-1])), bool)
    return self._policy.rule.reaches(by_exit, self._thresholds[number])
