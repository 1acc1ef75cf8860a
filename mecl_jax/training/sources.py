"""Where a phase's examples lie: on the device, as features on the device, or streamed by the host.

The step and the curriculum cannot tell the difference: both speak of rows of the training split.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mecl_jax.compiler import compiler_options
from mecl_jax.data import Split
from mecl_jax.evaluation import images_per_call
from mecl_jax.models import MultiExit
from mecl_jax.training import devices
from mecl_jax.training.step import Arrays, Batches


def resident(split: Split, placement: str, mesh: Mesh) -> Arrays | None:
  """The whole split on every device, images as uint8; None if it is to be streamed.

  Args:
    split: of the data set.
    placement: 'device', 'host', or 'auto': on the device if it fits in half of the memory.
    mesh: over the devices.
  """
  if placement == 'host' or (placement == 'auto' and split.images.nbytes > devices.memory_budget()):
    return None
  return jax.device_put({'images': split.images, 'labels': split.labels}, devices.replicated(mesh))


def _summaries(
  model: MultiExit, images: jax.Array, exits: tuple[str, ...]
) -> tuple[jax.Array, ...]:
  return model.summarise(model.features(images, exits), exits)


def _make_fill(graphdef: nnx.GraphDef, exits: tuple[str, ...]) -> Callable:
  """`(store, state, images, start) -> store`, with a batch's summaries from row `start` on."""

  def fill(store, state, images, start):
    summaries = _summaries(nnx.merge(graphdef, state), images, exits)
    return tuple(
      jax.lax.dynamic_update_slice_in_dim(rows, f, start, axis=0)
      for rows, f in zip(store, summaries, strict=True)
    )

  return jax.jit(fill, donate_argnums=0, compiler_options=compiler_options())


def cached_features(
  model: MultiExit,
  split: Split,
  exits: Sequence[str],
  mesh: Mesh,
  *,
  batch_size: int | None = None,
  on_batch: Callable[[int], None] = lambda done: None,
) -> Arrays | None:
  """What heads at `exits` see of every example, on every device; None if it does not fit.

  That is what a head makes of a feature map before anything is learnt, see `heads.head.Head`.

  Args:
    model: its backbone in evaluation mode.
    split: of the data set.
    exits: names of the exits that are to learn.
    mesh: over the devices.
    batch_size: images per call; None: see `images_per_call`.
    on_batch: called after every batch with the number of images done.
  """
  count = len(split)
  batch_size = min(batch_size or images_per_call(model, split.images.shape[1:]), count)
  graphdef, state = nnx.split(model)
  shapes = jax.eval_shape(
    lambda s, x: _summaries(nnx.merge(graphdef, s), x, tuple(exits)), state, split.images[:1]
  )
  size = sum(count * s.size * s.dtype.itemsize for s in shapes)
  if size > devices.memory_budget():
    return None
  fill = _make_fill(graphdef, tuple(exits))
  everywhere, by_batch = devices.replicated(mesh), devices.for_batch(mesh, batch_size)
  store = tuple(jnp.zeros((count, *s.shape[1:]), s.dtype, device=everywhere) for s in shapes)
  for start in range(0, count, batch_size):
    start = min(start, count - batch_size)  # the last batch overlaps: one shape, no padding
    images = jax.device_put(split.images[start : start + batch_size], by_batch)
    store = fill(store, state, images, start)
    on_batch(start + batch_size)
  return {'summaries': store, 'labels': jax.device_put(split.labels, everywhere)}


def dispatches(
  make: Callable[[range], Batches], steps: range, per_dispatch: int, streamed: bool
) -> Iterator[tuple[range, Batches]]:
  """Yields the batches of `steps`, several steps at a time, as the step function wants them.

  Args:
    make: builds the batches of a range of steps (NumPy; a pure function).
    steps: of the phase, from where it goes on to its end.
    per_dispatch: steps in one call.
    streamed: whether batches are heavy, so that threads should make them ahead.
  """
  starts = range(steps.start, steps.stop, per_dispatch)
  chunks = [range(s, min(s + per_dispatch, steps.stop)) for s in starts]
  made: Iterable[Batches] = map(make, chunks)
  if streamed:
    import grain  # only here: a second of start-up that other runs need not wait for

    ahead = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
    made = grain.MapDataset.source(chunks).map(make).to_iter_dataset(ahead)
  yield from zip(chunks, made, strict=True)
