"""Features of frozen backbones, computed once per image, and predictions from them."""

from collections.abc import Callable, Mapping, Sequence
import functools
import pathlib
import time

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from mecl_jax.compiler import compiler_options
from mecl_jax.data import Split
from mecl_jax.evaluation import images_per_call, predict
from mecl_jax.models import MultiExit
from mecl_jax.training import devices, feature_files
from mecl_jax.training.augmentation import Augmentation, Copy
from mecl_jax.training.run import Run
from mecl_jax.training.step import Arrays

# Seconds that computing, of all copies, must take at least before features are written to files.
WORTH = 2.0
_AT_ONCE = 4096  # rows of features that heads read in one call


def _summaries(
  model: MultiExit, images: jax.Array, exits: tuple[str, ...]
) -> tuple[jax.Array, ...]:
  return model.summarise(model.features(images, exits), exits)


@functools.lru_cache(maxsize=8)
def _make_fill(
  graphdef: nnx.GraphDef, exits: tuple[str, ...], augmentation: Augmentation | None
) -> Callable:
  """Makes `(store, state, images, start, copy) -> store`; summaries of a batch are from `start`.

  With an augmentation they are those of a copy of the images, whose number is `copy`.
  """

  def fill(store, state, images, start, copy):
    if augmentation is not None:
      ids = start + jnp.arange(len(images))
      images = augmentation.of_copy(images, ids, jnp.broadcast_to(copy, ids.shape))
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
  copy: Copy | None = None,
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
    copy: of the images; None: the images themselves.
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
  if size * (copy.count if copy else 1) > devices.memory_budget():
    return None
  fill = _make_fill(graphdef, tuple(exits), copy and copy.augmentation)
  everywhere, by_batch = devices.replicated(mesh), devices.for_batch(mesh, batch_size)
  store = tuple(jnp.zeros((count, *s.shape[1:]), s.dtype, device=everywhere) for s in shapes)
  for start in range(0, count, batch_size):
    start = min(start, count - batch_size)  # the last batch overlaps: one shape, no padding
    images = jax.device_put(split.images[start : start + batch_size], by_batch)
    store = fill(store, state, images, start, copy.number if copy else 0)
    on_batch(start + batch_size)
  return {'summaries': store, 'labels': jax.device_put(split.labels, everywhere)}


def features_of(
  run: Run,
  split: Split,
  exits: Sequence[str],
  *,
  on_batch: Callable[[int], None] = lambda done: None,
) -> Arrays | None:
  """Returns what `cached_features` returns, from files where they exist.

  Values are those that the files were made from, bit for bit.

  Args:
    run: with a frozen backbone.
    split: of the data set.
    exits: names of the exits whose heads train.
    on_batch: called after every batch with the number of images done.
  """
  return read_or_computed(run, split, exits, paths_of(run, split, exits), None, on_batch)


def paths_of(run: Run, split: Split, exits: Sequence[str]) -> dict[str, pathlib.Path]:
  """Returns the files of the features of the needed exits; {} if none are kept."""
  if not run.config.feature_files_gb:
    return {}
  return {name: feature_files.path_of(run, split, name) for name in run.model.needed(exits)}


def read_or_computed(
  run: Run,
  split: Split,
  exits: Sequence[str],
  paths: Mapping[str, pathlib.Path],
  copy: Copy | None,
  on_batch: Callable[[int], None],
) -> Arrays | None:
  """Returns what `cached_features` returns, from files if all of them exist, else computed.

  Args:
    run, split, exits, on_batch: as of `features_of`.
    paths: of the files, by exit; {} if none are kept.
    copy: of the images; None: the images themselves.
  """
  model, limit = run.model, round(run.config.feature_files_gb * 1e9)
  copies = copy.count if copy else 1
  if not paths:
    return cached_features(model, split, exits, run.mesh, copy=copy, on_batch=on_batch)
  found = {name: feature_files.read(path, len(split)) for name, path in paths.items()}
  missing = [name for name, array in found.items() if array is None]
  if missing:
    began = time.monotonic()
    computed = cached_features(model, split, exits, run.mesh, copy=copy, on_batch=on_batch)
    if computed is not None and copies * (time.monotonic() - began) >= WORTH:
      fresh = dict(zip(paths, computed['summaries'], strict=True))
      written = {paths[name]: fresh[name] for name in missing}
      # Copies that have no room together would remove each other's files.
      if copies * sum(array.nbytes for array in written.values()) <= limit:
        feature_files.write(written, limit)
    return computed
  size = sum(array.nbytes for array in found.values() if array is not None)
  if copies * size > devices.memory_budget():
    return None
  rows = {'summaries': tuple(found.values()), 'labels': split.labels}
  return jax.device_put(rows, devices.replicated(run.mesh))


def predict_split(
  run: Run,
  split: Split,
  exits: Sequence[str] | None = None,
  *,
  on_batch: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
  """Predicts a split with the run's model; with `model.frozen` from features, if they fit.

  Args:
    run: its model is put into evaluation mode.
    split: of the data set.
    exits: names of the exits to return; None for all.
    on_batch: called after every batch with the number of images done.

  Returns:
    float32 [N, exits, classes] (float64 if the model computes in it).
  """
  model, names = run.model, tuple(exits or run.model.exit_names)
  features = features_of(run, split, names, on_batch=on_batch) if run.config.model.frozen else None
  if features is None:
    return predict(model, split.images, names, mesh=run.mesh, on_batch=on_batch)
  return read_logits(model, features, names)


def read_logits(model: MultiExit, features: Arrays, exits: Sequence[str]) -> np.ndarray:
  """Returns the logits of heads from features, float32 [N, exits, classes] (or float64).

  Args:
    model: is put into evaluation mode.
    features: from `cached_features` or `features_of`, for the same exits.
    exits: names of the exits.
  """
  names, count = tuple(exits), len(features['labels'])
  model.eval()
  graphdef, state = nnx.split(model)
  size = min(_AT_ONCE, count)
  results = np.empty((count, 0))
  for start in range(0, count, size):
    first = min(start, count - size)  # the last rows overlap: one shape
    logits = jax.device_get(_compiled_read()(graphdef, names, size, state, features, first))
    if not start:
      results = np.empty((count, *logits.shape[1:]), logits.dtype)
    results[first : first + size] = logits
  return results


@functools.cache
def _compiled_read() -> Callable:
  """Returns a jitted function from features to logits, which compiles once per form."""

  def read(graphdef, names, size, state, features, first):
    rows = tuple(
      jax.lax.dynamic_slice_in_dim(array, first, size) for array in features['summaries']
    )
    return nnx.merge(graphdef, state).read(rows, names)

  return jax.jit(read, static_argnums=(0, 1, 2), compiler_options=compiler_options())
