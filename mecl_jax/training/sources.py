"""Sources of a phase's examples: images on the device, features on the device, or the host.

Step and curriculum are the same for all of them: both use rows of the training split.
"""

from collections.abc import Callable, Iterable, Iterator
import time

import jax
from jax.sharding import Mesh
import numpy as np

from mecl_jax.data import Split
from mecl_jax.data.rows import FileRows
from mecl_jax.models import FINAL
from mecl_jax.training import devices
from mecl_jax.training.augmentation import copies_of
from mecl_jax.training.copies import features_of_copies
from mecl_jax.training.features import features_of, predict_split
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
    what `resident`, `features_of` or `features_of_copies` returns, with distillation also
    `teacher`; None if the host streams the images.
  """
  train = run.dataset.train
  if plan.phase.frozen_backbone and run.config.cache_features:
    # A final exit that trains in this phase teaches with its present logits.
    taught = plan.distilled and FINAL not in plan.phase.exits
    features = _features(run, plan, taught)
    if features is not None:
      return features | (teacher_logits(run, train) if taught and 'teacher' not in features else {})
    copies = copies_of(run.config, plan)
    what = f'features of {copies} copies of every image' if copies else 'features'
    fewer = ', on the same copies; with fewer of them features may fit' if copies else ''
    run.console.print(
      f'{what} do not fit into memory: the frozen backbone runs in every step{fewer}'
    )
  return resident(train, run.config.data.placement, run.mesh)


def _features(run: Run, plan: PhasePlan, taught: bool) -> Arrays | None:
  """Returns the features of a phase; those of copies have `teacher` too, if they are `taught`."""
  train, copies = run.dataset.train, copies_of(run.config, plan)
  total, began = len(train) * max(copies, 1), time.monotonic()
  with work(run.console, 'features', total, run.interruption.check) as on_batch:
    if copies:
      features = features_of_copies(run, plan.phase.exits, taught=taught, on_batch=on_batch)
    else:
      features = features_of(run, train, plan.phase.exits, on_batch=on_batch)
    if features is not None:
      megabytes = sum(array.nbytes for array in jax.block_until_ready(features['summaries'])) / 1e6
      on_batch(total, (f'{megabytes:,.1f} MB', f'{time.monotonic() - began:.1f} s'))
  return features


def teacher_logits(run: Run, split: Split) -> Arrays:
  """Returns `teacher`, the final exit's logits [N, classes] of a split, on every device."""
  with work(run.console, 'soft targets', len(split), run.interruption.check) as on_batch:
    logits = predict_split(run, split, (FINAL,), on_batch=on_batch)
  return {'teacher': jax.device_put(logits[:, 0], devices.replicated(run.mesh))}


def resident(split: Split, placement: str, mesh: Mesh) -> Arrays | None:
  """Puts a whole split on every device, images as uint8.

  Args:
    split: of the data set.
    placement: 'device', 'host', or 'auto': on the device if it fits into half of the memory, and is
      not so large that it stays in a file.
    mesh: over the devices.

  Returns:
    `images` and `labels`; None if the host streams them.
  """
  large = isinstance(split.images, FileRows) or split.images.nbytes > devices.memory_budget()
  if placement == 'host' or (placement == 'auto' and large):
    return None
  images = {'images': np.asarray(split.images), 'labels': split.labels}
  return jax.device_put(images, devices.replicated(mesh))


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
