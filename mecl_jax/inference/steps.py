"""Steps of early exit: a segment for any rows of a batch, in calls of a few fixed sizes."""

from collections.abc import Sequence
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mecl_jax.compiler import compiler_options
from mecl_jax.inference.cover import Call, cheapest_covers, ladder
from mecl_jax.inference.segments import Leaves, Segment
from mecl_jax.models.backbones.backbone import Features

# Sizes are timed by the median over `ROUNDS` rounds, each of enough calls for `ROWS` rows. A single
# very short call could miss what slows the machine down.
ROUNDS, ROWS = 5, 64


class Step:
  """A segment for any rows of a batch.

  A call gathers its rows from the features of the step before, and writes its own features into an
  array for a whole batch that the step keeps. So no array has the size of the remaining rows, and
  nothing is compiled for their number.

  Args:
    segment: the segment to compile.
    source: images of a whole batch, [capacity, ..], or the `features` of the step before.
    before: shape and dtype of the logits [capacity, classes] of the exit before; None for the first
      step.
    sizes: sizes of calls, as from `ladder`; the largest is the capacity.

  Attributes:
    features: [capacity, ..]; the first rows belong to the rows of the last call. None for the last
      segment.
    logits: shape and dtype of the logits, [capacity, classes].
    capacity: largest number of rows.
  """

  def __init__(self, segment: Segment, source: Features, before: Any, sizes: Sequence[int]):
    self._leaves, self._is_cascade = segment.leaves, segment.is_cascade
    self.capacity = max(sizes)
    before = before if segment.is_cascade else None
    kept, self.logits = jax.eval_shape(segment.run, segment.leaves, source, before)
    self.features = jax.tree.map(lambda form: jnp.zeros(form.shape, form.dtype), kept)
    self._compiled = {
      size: _compile(segment, source, before, self.features, size) for size in sizes
    }
    self._covers = cheapest_covers(self._seconds(source))

  def __call__(self, source: Features, before: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Runs the segment for some rows; their features are in `features` afterwards.

    Args:
      source: images of a whole batch, [capacity, ..], or the `features` of the step before.
      before: logits [n, classes] of the exit before; not used by the first step.
      rows: int [n], which rows of `source` to take.

    Returns:
      logits [n, classes].
    """
    taken = padded(rows.astype(np.int32), self.capacity)
    inputs = padded(before, self.capacity) if self._is_cascade else None
    parts = [self._run(call, source, inputs, taken) for call in self._covers[len(rows)]]
    return np.concatenate([np.asarray(part) for part in parts])[: len(rows)]

  def _run(
    self, call: Call, source: Features, before: np.ndarray | None, rows: np.ndarray
  ) -> jax.Array:
    part = slice(call.start, call.start + call.size)
    self.features, logits = self._compiled[call.size](
      self._leaves,
      source,
      None if before is None else before[part],
      rows[part],
      np.int32(call.start),
      self.features,
    )
    return logits

  def _seconds(self, source: Features) -> dict[int, float]:
    """Returns the time of a call, in seconds, by its size."""
    rows = np.zeros(self.capacity, np.int32)
    before = np.zeros(self.logits.shape, self.logits.dtype) if self._is_cascade else None
    spent = {size: list[float]() for size in self._compiled}
    for _ in range(1 + ROUNDS):  # the first is a warm-up
      for size, seconds in spent.items():
        times = max(1, min(ROWS, self.capacity) // size)
        began = time.perf_counter()
        for _ in range(times):
          logits = self._run(Call(size, 0), source, before, rows)
        logits.block_until_ready()
        seconds.append((time.perf_counter() - began) / times)
    return {size: statistics.median(seconds[1:]) for size, seconds in spent.items()}


def compile_steps(
  segments: Sequence[Segment], image_shape: Sequence[int], batch_size: int
) -> list[Step]:
  """Compiles the steps for batches of uint8 images of (height, width, channels)."""
  sizes = ladder(batch_size)
  source: Any = jnp.zeros((max(sizes), *image_shape), np.uint8)
  steps, logits = list[Step](), None
  for segment in segments:
    steps.append(Step(segment, source, logits, sizes))
    source, logits = steps[-1].features, steps[-1].logits
  return steps


def _compile(
  segment: Segment, source: Features, before: Any, features: Features | None, size: int
) -> jax.stages.Compiled:
  """Compiles (leaves, source, before, rows, start, features) -> (features, logits), see `Step`."""

  def run(
    leaves: Leaves,
    source: Features,
    before: jax.Array | None,
    rows: jax.Array,
    start: jax.Array,
    features: Features | None,
  ) -> tuple[Features | None, jax.Array]:
    x = jax.tree.map(lambda whole: whole.at[rows].get(mode='promise_in_bounds'), source)
    x, logits = segment.run(leaves, x, before)

    def put(whole: jax.Array, part: jax.Array) -> jax.Array:
      return jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=0)

    return jax.tree.map(put, features, x), logits

  jitted = jax.jit(run, donate_argnums=5, compiler_options=compiler_options())
  inputs = before
  if before is not None:
    inputs = jax.ShapeDtypeStruct((size, *before.shape[1:]), before.dtype)
  rows, start = (jax.ShapeDtypeStruct(shape, np.int32) for shape in ((size,), ()))
  return jitted.lower(segment.leaves, source, inputs, rows, start, features).compile()


def padded(values: np.ndarray, capacity: int) -> np.ndarray:
  """Pads values [n, ..] with zeros to [capacity, ..]."""
  padding = np.zeros((capacity - len(values), *values.shape[1:]), values.dtype)
  return np.concatenate([values, padding])
