"""Sources of a phase's examples: images on the device, features on the device, or the host.

Step and curriculum are the same for all of them: both use rows of the training split.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mecl_jax.compiler import compiler_options
from mecl_jax.data import Split
from mecl_jax.evaluation import images_per_call, predict
from mecl_jax.models import FINAL, MultiExit
from mecl_jax.training import devices
from mecl_jax.training.log import work
from mecl_jax.training.plan import PhasePlan
from mecl_jax.training.run import Run
from mecl_jax.training.step import Arrays, Batches


def phase_source(run: Run, plan: PhasePlan) -> Arrays | None:
  """Puts the images of a phase, or the features of its frozen backbone, on the device.

  Args:
    run: the run.
    plan: of the phase.

  Returns:
    what `resident` or `cached_features` returns, with distillation also `teacher`; None if the host
    streams the images.
  """
  train = run.dataset.train
  if plan.phase.frozen_backbone and run.config.cache_features:
    with work(run.console, 'features', len(train), run.interruption.check) as on_batch:
      features = cached_features(run.model, train, plan.phase.exits, run.mesh, on_batch=on_batch)
    if features is not None:
      return features | (teacher_logits(run, train) if plan.distilled else {})
    run.console.print('features do not fit into memory: the frozen backbone runs in every step')
  return resident(train, run.config.data.placement, run.mesh)


def teacher_logits(run: Run, split: Split) -> Arrays:
  """Returns `teacher`, the frozen final exit's logits [N, classes] of a split, on every device."""
  with work(run.console, 'soft targets', len(split), run.interruption.check) as on_batch:
    logits = predict(run.model, split.images, (FINAL,), mesh=run.mesh, on_batch=on_batch)
  return {'teacher': jax.device_put(logits[:, 0], devices.replicated(run.mesh))}


def resident(split: Split, placement: str, mesh: Mesh) -> Arrays | None:
  """Puts a whole split on every device, images as uint8.

  Args:
    split: of the data set.
    placement: 'device', 'host', or 'auto': on the device if it fits into half of the memory.
    mesh: over the devices.

  Returns:
    `images` and `labels`; None if the host streams them.
  """
  if placement == 'host' or (placement == 'auto' and split.images.nbytes > devices.memory_budget()):
    return None
  return jax.device_put({'images': split.images, 'labels': split.labels}, devices.replicated(mesh))


def _summaries(
  model: MultiExit, images: jax.Array, exits: tuple[str, ...]
) -> tuple[jax.Array, ...]:
  return model.summarise(model.features(images, exits), exits)


def _make_fill(graphdef: nnx.GraphDef, exits: tuple[str, ...]) -> Callable:
  """Makes `(store, state, images, start) -> store`, with a batch's summaries from row `start`."""

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
  """Computes the input of the trainable part of heads for every example, on every device.

  That is the part of a head without parameters, applied to the feature map; see `heads.head.Head`.

  Args:
    model: put into evaluation mode.
    split: of the data set.
    exits: names of the exits whose heads train.
    mesh: over the devices.
    batch_size: images per call; None: see `images_per_call`.
    on_batch: called after every batch with the number of images done.

  Returns:
    `summaries`, an array [N, ...] per exit, and `labels`; None if they do not fit into memory.
  """
  model.eval()
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
  """Yields the batches of `steps`, several steps at a time.

  Args:
    make: builds the batches of a range of steps (NumPy; a pure function).
    steps: of the phase.
    per_dispatch: steps in one call.
    streamed: whether batches hold images, so that threads should make them ahead.
  """
  starts = range(steps.start, steps.stop, per_dispatch)
  chunks = [range(s, min(s + per_dispatch, steps.stop)) for s in starts]
  made: Iterable[Batches] = map(make, chunks)
  if streamed:
    import grain  # importing it takes a second

    ahead = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
    made = grain.MapDataset.source(chunks).map(make).to_iter_dataset(ahead)
  yield from zip(chunks, made, strict=True)
